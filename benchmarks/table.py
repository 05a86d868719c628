"""The committed result lines as tables: `python -m benchmarks.table`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS

Line = Mapping[str, Any]


def read(path: Path) -> list[Line]:
    """All lines of a results file; none if there is no such file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def accuracy_table(lines: Sequence[Line]) -> str:
    """Accuracy on real data, one row a run."""
    head = ("scored on", "pair", "method", "seconds", "seed", "teacher %", "student %", "device", "revision")
    rows = [
        (
            line["dataset"],
            line["pair"],
            line["method"],
            f"{line['seconds']:.0f}",
            str(line["seed"]),
            f"{100 * line['teacher_accuracy']:.2f}",
            f"{100 * line['student_accuracy']:.2f}",
            _where(line),
            _revision(line),
        )
        for line in lines
    ]
    return _markdown(head, rows)


def step_time_table(lines: Sequence[Line]) -> str:
    """Seconds of a student step (a fifth of a round), one row a run."""
    head = (
        "pair",
        "batch",
        "width",
        "plain s",
        "engine s",
        "with pool s",
        "ratio",
        "with pool",
        "on",
        "revision",
    )
    rows = [
        (
            line["pair"],
            str(line["batch_size"]),
            str(line["generator_width"]),
            *(f"{line[f'{name}_seconds']:.3f}" for name in ("plain", "engine", "engine_with_pool")),
            f"{line['ratio']:.1f}",
            f"{line['ratio_with_pool']:.1f}",
            _where(line),
            _revision(line),
        )
        for line in lines
    ]
    return _markdown(head, rows)


def _where(line: Line) -> str:
    machine = line["machine"]
    return str(machine.get("gpu") or f"{machine['threads']} threads of {machine['cpu']}")


def _revision(line: Line) -> str:
    revision = line["git_revision"]
    if revision is None:
        return "-"
    return revision[:10] + ("" if line["git_clean"] else " and changes")


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def main() -> None:
    """Print every table that has a result."""
    print(accuracy_table(read(RESULTS / "mnist.jsonl")))
    print()
    print(step_time_table(read(RESULTS / "step_time.jsonl")))


if __name__ == "__main__":
    main()
