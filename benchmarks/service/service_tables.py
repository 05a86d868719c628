"""Rows from result lines of the service: recovery from kills, response times, transfers, the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.record import revision_text

Line = Mapping[str, Any]
Row = tuple[str, ...]


def chaos_rows(lines: Sequence[Line]) -> tuple[Row, list[Row]]:
    """One row a run, in the order of the file."""
    head = ("stack", "runner", "jobs", "finished", "lost", "doubled", "left behind", "kills",
            "recovery p50 s", "p99 s")  # fmt: skip
    rows: list[Row] = [
        (
            line["settings"]["stack"] + (", short leases" if line["settings"]["short"] else ""),
            line["settings"]["runner"],
            *(str(line[name]) for name in ("submitted", "finished", "lost", "doubled")),
            _left_behind(line),
            str(line["kills"]),
            f"{line['recovery_p50_seconds']:.1f}",
            f"{line['recovery_p99_seconds']:.1f}",
        )
        for line in lines
    ]
    return head, rows


def _left_behind(line: Line) -> str:
    """Folders, files and processes; young files are no rest. Lines of earlier revisions do not say."""
    left = line.get("left_behind")
    return str(sum(left.values()) - left["young_blobs"]) if left else ""


def polling_rows(lines: Sequence[Line]) -> tuple[Row, list[Row]]:
    """Requests a second, ours beside MLflow's; the latency at half of our own maximum; listing; streams."""
    head = (
        *(
            "database",
            "processes",
            "polls/s",
            "MLflow get-run/s",
            "times",
            "p50 ms at half",
            "p99 ms at half",
        ),
        *("list 1,000 jobs ms", "100,000 ms", "ratio", "events/s to watchers"),
    )
    rows: list[Row] = []
    for line in lines:
        polling, listing = line["polling"], line["listing"]
        ours = polling["at_half"]["dfad"]
        many = listing[f"p50_ms_{line['settings']['jobs']}"]
        rows.append(
            (
                line["settings"]["database"],
                str(line["settings"]["processes"]),
                f"{polling['per_second']['dfad']:.0f}",
                f"{polling['per_second']['mlflow']:.0f}" if "mlflow" in polling["per_second"] else "-",
                f"{polling['times_mlflow']:.1f}" if "times_mlflow" in polling else "-",
                f"{ours['p50_ms']:.1f}",
                f"{ours['p99_ms']:.1f}",
                f"{listing['p50_ms_1000']:.1f}",
                f"{many:.1f}",
                f"{listing['ratio']:.2f}",
                f"{line['streams']['events_per_second']:,} to {line['streams']['watchers']}",
            )
        )
    return head, rows


def large_rows(lines: Sequence[Line]) -> tuple[Row, list[Row]]:
    """One row a job: seconds of a step and peak memory, measured and as expected."""
    head = (
        "pixels", "classes", "batch", "slices", "steps", "first step s", "step s", "processor s",
        "expected s", "memory GiB", "estimated GiB", "revision",
    )  # fmt: skip
    rows: list[Row] = [
        (
            line["case"],
            *(f"{line[name]:,}" for name in ("num_classes", "batch_size", "slices", "steps")),
            f"{line['first_step_seconds']:.0f}",
            *(f"{line[f'{name}_seconds']:.2f}" for name in ("step", "step_processor", "estimated_step")),
            *(f"{line[f'{name}_bytes'] / 2**30:.2f}" for name in ("job", "estimated")),
            revision_text(line) + (", beside other programs" if line.get("neighbour") else ""),
        )
        for line in lines
    ]
    return head, rows


def sse_rows(lines: Sequence[Line]) -> tuple[Row, list[Row]]:
    """One row a run: what watchers saw whose connections were cut."""
    counted = ("watchers", "cuts", "events", "whole", "gaps", "doubles")
    rows: list[Row] = [
        (
            line["settings"]["database"],
            str(line["settings"]["processes"]),
            f"{line['settings']['seconds']:.0f}",
            *(f"{line[name]:,}" for name in counted),
            revision_text(line),
        )
        for line in lines
    ]
    return ("database", "processes", "seconds", *counted, "revision"), rows


def file_rows(lines: Sequence[Line]) -> tuple[Row, list[Row]]:
    """Upload and download as shares of the disk's own speed."""
    head = (
        *("store", "MiB", "write and hash s", "upload s", "share"),
        *("read and hash s", "download s", "share", "memory grown MiB"),
    )
    rows: list[Row] = [
        (
            about["store"],
            f"{about['bytes'] / 2**20:.0f}",
            f"{about['write_and_hash_seconds']:.2f}",
            f"{about['upload_seconds']:.2f}",
            f"{100 * about['upload_share']:.0f} %",
            f"{about['read_and_hash_seconds']:.2f}",
            f"{about['download_seconds']:.2f}",
            f"{100 * about['download_share']:.0f} %",
            f"{about['memory_grown_mib']:.1f}",
        )
        for line in lines
        for about in line["files"]
    ]
    return head, rows


def first_student_rows(lines: Sequence[Line]) -> tuple[Row, list[Row]]:
    """One row a run, from the start of the service to the downloaded student."""
    head = ("seconds", "teacher %", "student %", "parameters", "student's", "other processes", "revision")
    rows: list[Row] = [
        (
            f"{line['seconds']:.0f}",
            *(f"{100 * line[f'{name}_accuracy']:.2f}" for name in ("teacher", "student")),
            *(f"{line[f'{name}_parameters']:,}" for name in ("teacher", "student")),
            f"{line['others_processors']:.2f}",
            revision_text(line),
        )
        for line in lines
    ]
    return head, rows


def start_rows(lines: Sequence[Line]) -> tuple[Row, list[Row]]:
    """One row a run: seconds from the claim of a job to its first training step."""
    rows: list[Row] = [
        (str(line["jobs"]), f"{line['median_seconds']:.2f}", f"{line['most']:.2f}", revision_text(line))
        for line in lines
    ]
    return ("jobs", "median s", "largest s", "revision"), rows


def page_rows(lines: Sequence[Line]) -> tuple[Row, list[Row]]:
    """One row a run: milliseconds until the curves of a long job are drawn.

    Lines without `complete_milliseconds` are of a page that drew once, from all readings.
    """
    head = (
        *("readings", "first drawing ms", "with all peaks ms", "server: evenly spaced ms"),
        *("server: with peaks ms", "layout shift", "longest task while moving ms", "load", "revision"),
    )
    rows: list[Row] = []
    for line in lines:
        first, complete = line["drawn_milliseconds"], line.get("complete_milliseconds")
        moving = [duration for run in line["long_tasks_moving_milliseconds"] for duration in run]
        rows.append(
            (
                f"{line['readings']:,}",
                _span(first) if complete else "-",
                _span(complete or first),
                str(line["series_evenly_milliseconds"]),
                str(line["series_with_peaks_milliseconds"]),
                str(line["layout_shift"]),
                str(max(moving)) if moving else "under 50",
                str(line["load"]),
                revision_text(line),
            )
        )
    return head, rows


def _span(values: Sequence[float]) -> str:
    return f"{min(values)} to {max(values)}"


def public_rows(lines: Sequence[Line]) -> tuple[Row, list[Row]]:
    """One row a teacher and method, the newest line of each."""
    head = (
        "teacher",
        "method",
        "written as",
        "BN layers",
        "parameters",
        "student's",
        "teacher",
        "student",
        "training s",
    )
    ways = {"folder": "Hugging Face folder", "exported": "ONNX, torch.export", "traced": "ONNX, traced"}
    newest = {(line["teacher"], line.get("method", "best")): line for line in lines}
    rows: list[Row] = [
        (
            teacher,
            method,
            ways[line["written"]],
            str(line["bn_layers"]),
            f"{line['teacher_parameters']:,}",
            f"{line['student_parameters']:,}",
            f"{line['teacher_accuracy']:.1%}",
            f"{line['student_accuracy']:.1%}",
            f"{line['training_seconds']:.0f}",
        )
        for (teacher, method), line in newest.items()
    ]
    return head, rows
