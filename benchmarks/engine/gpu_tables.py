"""Rows from result lines of GPU passes: methods, speed, teachers, students."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.record import revision_text

Line = Mapping[str, Any]
Row = tuple[str, ...]
Table = tuple[Row, list[Row]]


def newest(lines: Sequence[Line]) -> list[Line]:
    """The newest line of each part on each machine, without trials and tenths of a run."""
    of_part: dict[tuple[str, str], Line] = {}
    for line in lines:
        if line["scale"] == "full" and "tenth" not in line and "skipped" not in line:
            key = (_machine(line), line["part"])
            of_part.pop(key, None)
            of_part[key] = line
    return list(of_part.values())


def students(lines: Sequence[Line]) -> list[Line]:
    """The lines of students, in the form of all runs that were scored on real data."""
    return [line for line in newest(lines) if "student_accuracy" in line]


def sections(lines: Sequence[Line]) -> list[tuple[str, Table]]:
    """A title and a table of each stage that has lines."""
    shown = newest(lines)
    stages = (
        ("Methods on a GPU, stopped and resumed once", "presets", preset_rows),
        ("Time of a training step on a GPU", "speed", speed_rows),
        ("Teachers trained on CIFAR-10", "teachers", teacher_rows),
        ("Training of students on a GPU", "students", student_rows),
    )
    tables = []
    for title, stage, rows in stages:
        of_stage = [line for line in shown if line["part"].startswith(f"{stage}/")]
        if of_stage:
            tables.append((title, rows(of_stage)))
    return tables


def preset_rows(lines: Sequence[Line]) -> Table:
    """Milliseconds of a round of each method, without and with CUDA graphs, or how it failed."""
    cells: dict[tuple[str, str], dict[bool, Line]] = {}
    for line in lines:
        _, method, *graphs = line["part"].split("/")
        cells.setdefault((_machine(line), method), {})[bool(graphs)] = line
    rows: list[Row] = []
    for (machine, method), both in cells.items():
        newer = max(both.values(), key=lambda line: str(line["time"]))
        times = (_milliseconds(both.get(graphs)) for graphs in (False, True))
        rows.append((method, *times, machine, revision_text(newer)))
    return ("method", "ms a round", "with CUDA graphs", "on", "revision"), rows


def _milliseconds(line: Line | None) -> str:
    if line is None:
        return "-"
    return f"failed: {line['failed']}" if "failed" in line else f"{1000 * line['round_seconds']:.1f}"


def speed_rows(lines: Sequence[Line]) -> Table:
    """Seconds of a student step (a fifth of a round) of each loop, and operations a second."""
    head = (
        *("pair", "batch", "loop", "s a student step", "times the plain loop", "TFLOP/s"),
        *("TFLOP/s of a bf16 matrix product", "on", "revision"),
    )
    loops = {
        "plain": "plain",
        "engine": "engine",
        "engine_with_pool": "engine with its pool",
        "engine_with_graphs": "with pool and CUDA graphs",
    }
    rows: list[Row] = []
    for line in lines:
        tail = (_machine(line), revision_text(line))
        if "failed" in line:
            batch = line["part"].removeprefix("speed/")
            rows.append(("-", batch, f"failed: {line['failed']}", *["-"] * 4, *tail))
            continue
        for loop, title in loops.items():
            seconds, work = line[f"{loop}_seconds"], line.get(f"{loop}_tflops")
            rows.append(
                (
                    line["pair"],
                    str(line["batch_size"]),
                    title,
                    f"{seconds:.4f}",
                    f"{line['plain_seconds'] / seconds:.1f}",
                    "-" if work is None else f"{work:.0f}",
                    f"{line['matrix_product_tflops']:.0f}",
                    *tail,
                )
            )
    return head, rows


def teacher_rows(lines: Sequence[Line]) -> Table:
    """Accuracy of each teacher, and of its stored float16 copy."""
    head = ("teacher", "images scored", "accuracy %", "in float16", "epochs", "training s", "on", "revision")
    rows: list[Row] = []
    for line in lines:
        tail = (_machine(line), revision_text(line))
        if "failed" in line:
            name = line["part"].removeprefix("teachers/")
            rows.append((name, "-", f"failed: {line['failed']}", "-", "-", "-", *tail))
            continue
        rows.append(
            (
                line["teacher"],
                f"{line['images']:,}",
                *(f"{100 * line[name]:.2f}" for name in ("accuracy", "accuracy_float16")),
                str(line["epochs"]),
                f"{line['training_seconds']:.0f}",
                *tail,
            )
        )
    return head, rows


def student_rows(lines: Sequence[Line]) -> Table:
    """Images shown to each student, and the arithmetic of that."""
    head = (
        *("pair", "method", "student %", "training s", "images shown", "a second", "TFLOP/s"),
        *("CUDA graphs", "on", "revision"),
    )
    rows: list[Row] = []
    for line in lines:
        tail = (_machine(line), revision_text(line))
        if "failed" in line:
            _, pair, method = line["part"].split("/")
            rows.append((pair, method, f"failed: {line['failed']}", *["-"] * 5, *tail))
            continue
        shown = line["presentations_per_second"] * line["training_seconds"]
        rows.append(
            (
                line["pair"],
                line["method"],
                f"{100 * line['student_accuracy']:.2f}",
                f"{line['training_seconds']:.0f}",
                f"{shown / 1e6:.2f} million",
                f"{line['presentations_per_second']:,.0f}",
                f"{line['tflops']:.0f}",
                "yes" if line["graphs"] else "no",
                *tail,
            )
        )
    return head, rows


def _machine(line: Line) -> str:
    machine = line["machine"]
    return str(machine.get("gpu") or machine["cpu"])
