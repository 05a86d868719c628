"""Rows of the colour tables: one a method and its settings, for each teacher, student and budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import mean, median

from benchmarks.colour import BUDGETS
from benchmarks.engine.method_table import (
    NOT_RECORDED,
    Line,
    MethodRuns,
    Row,
    legend,
    machine_text,
    markdown,
    one_a_seed,
)
from benchmarks.record import revision_text

HEAD = (
    *("method", "settings", "recipe", "images from", "seeds"),
    *("held out %", "of teacher", "agreement %", "on others %", "test %", "of teacher"),
    *("presentations", "distinct", "evenness", "confidence", "teacher / student / images / backward"),
    *("PFLOP", "s", "switched off", "other processes", "revision"),
)
SPLITS = {"choosing_": "held out", "": "test"}
"""Prefix of a line's accuracies -> its name in tables."""
TEACHER_HEAD = (
    *("teacher", "parameters", "test %", "held out %", "seconds", "epochs", "images/s", "soft labels of"),
    *("on", "revision"),
)
NOTE = (
    "Median of the seeds (smallest to largest). *held out*: the last tenth of the training images, by "
    "which settings may be chosen. It was compressed again (JPEG), the test images were not; the public "
    "teachers have learned from it. *of teacher*: the median's share of the teacher's accuracy. "
    "*agreement*: share of the held-out images in which student and teacher see the same class; *on "
    "others*: the same on training images of CIFAR-100, of other classes but as sharp as the test images."
    " *evenness*: entropy of the classes that the teacher sees in the images shown, 1 where all are as "
    "frequent. *confidence*: its mean largest probability for them. Next, shares of the time: forward "
    "passes of the teacher, the student's passes, making images, and backward passes to the images "
    "through all networks. PFLOP: 10^15 operations of all networks."
)


def colour_sections(lines: Sequence[Line]) -> Iterator[tuple[str, str]]:
    """Title and tables of each teacher, student, budget and machine."""
    groups: dict[tuple[str, str, str, float, str], list[Line]] = {}
    for line in lines:
        budget = line["budget"]
        key = (line["teacher"], line["student"], budget["kind"], float(budget["amount"]), machine_text(line))
        groups.setdefault(key, []).append(line)
    for (teacher, student, kind, amount, machine), group in sorted(groups.items()):
        rows = rows_of(group)
        parts = [markdown(HEAD, [_cells(row) for row in rows]), legend(rows), NOTE]
        title = f"CIFAR-10, {teacher} ({_teacher_scores(group)}) to {student}"
        yield f"{title}, {amount:,g} {BUDGETS[kind]} on {machine}", "\n\n".join(filter(None, parts))


def _teacher_scores(lines: Sequence[Line]) -> str:
    newest = {
        title: line[f"{prefix}teacher_accuracy"]
        for prefix, title in SPLITS.items()
        for line in lines
        if f"{prefix}accuracy" in line
    }
    return ", ".join(f"{100 * score:.2f} % {title}" for title, score in newest.items())


def rows_of(lines: Sequence[Line]) -> list[MethodRuns]:
    """The runs of each method, settings and recipe, one a seed; the best median on held-out images first."""
    groups: dict[tuple[str, str, str], list[Line]] = {}
    for line in lines:
        groups.setdefault((line["method"], _settings(line), line["recipe"]), []).append(line)
    rows = [MethodRuns(key[0], one_a_seed(group)) for key, group in groups.items()]
    return sorted(rows, key=lambda row: -median(line["choosing_accuracy"] for line in row.lines))


def _settings(line: Line) -> str:
    settings = ", ".join(f"{name.partition('.')[2]}={value}" for name, value in line["settings"].items())
    return ": ".join(part for part in (line["variant"], settings) if part) or "-"


def _cells(row: MethodRuns) -> Row:
    lines, first = row.lines, row.lines[0]
    shares = [
        f"{100 * mean(line['time_shares'][part] for line in lines):.0f}"
        for part in ("teacher", "student", "image_source", "backward_to_images")
    ]
    return (
        row.label,
        _settings(first),
        first["recipe"],
        str(first["image_source"]).replace("_", " "),
        str(len(lines)),
        *_score(lines, "choosing_"),
        f"{100 * median(line['choosing_agreement'] for line in lines):.2f}",
        _other_agreement(lines),
        *_score(lines, ""),
        *(f"{median(line[name] for line in lines):,.0f}" for name in ("presentations", "distinct_images")),
        *(f"{median(line[name] for line in lines):.2f}" for name in ("class_entropy", "teacher_confidence")),
        " / ".join(shares) + " %",
        f"{median(line['pflop'] for line in lines):.3g}",
        f"{median(line['seconds'] for line in lines):,.0f}",
        ", ".join(row.missing_terms) or "-",
        NOT_RECORDED if row.load is None else f"{row.load:.2f}",
        ", ".join(sorted({revision_text(line) for line in lines})),
    )


def _other_agreement(lines: Sequence[Line]) -> str:
    shares = [100 * line["other_agreement"] for line in lines if "other_agreement" in line]
    return f"{median(shares):.2f}" if shares else "-"


def _score(lines: Sequence[Line], prefix: str) -> tuple[str, str]:
    """Median with its range, and its share of the teacher's accuracy; dashes where no run has it."""
    name = f"{prefix}accuracy"
    scores = [100 * line[name] for line in lines if name in line]
    if not scores:
        return "-", "-"
    of_teacher = mean(line[f"{prefix}teacher_accuracy"] for line in lines if name in line)
    share = f"{median(scores) / of_teacher:.1f} %" if of_teacher else "-"
    some = "" if len(scores) == len(lines) else f", {len(scores)} of {len(lines)} seeds"
    return f"{median(scores):.2f} ({min(scores):.2f} to {max(scores):.2f}{some})", share


def teacher_rows(lines: Sequence[Line]) -> tuple[Row, list[Row]]:
    """Head and rows: the newest line of each teacher without batch norm."""
    newest = {line["teacher"]: line for line in lines}
    rows: list[Row] = [
        (
            line["teacher"],
            f"{line['parameters']:,}",
            f"{100 * line['accuracy']:.2f}",
            f"{100 * line['held_out_accuracy']:.2f}",
            f"{line['seconds']:.0f}",
            f"{line['epochs']:.1f}",
            f"{line['images_per_second']:.0f}",
            line["labeller"] or "-",
            machine_text(line),
            revision_text(line),
        )
        for line in newest.values()
    ]
    return TEACHER_HEAD, rows
