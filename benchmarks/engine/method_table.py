"""Tables of methods: accuracy at equal seconds, at equal student updates, and at equal teacher work.

All runs of one table share data, networks, seconds and machine. The smallest amount of work that a run of
the table ends with is common to all runs; accuracy there is interpolated linearly between the two nearest
measurements of a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median_low
from typing import Any

from benchmarks.engine.recipe_facts import facts_of_line, updates_a_round
from benchmarks.machine_load import LOAD_LIMIT, is_neighbour
from benchmarks.record import revision_text

Line = Mapping[str, Any]
Row = tuple[str, ...]

NOT_RECORDED = "not recorded"
MISSING, NEIGHBOUR = "†", "‡"
AMOUNTS = {
    "student_updates": "student updates",
    "queries": "teacher queries",
    "pflop": "PFLOP",
}
"""What work is counted in -> its name in a table. A teacher query is one image that the teacher labels."""
EQUAL_SECONDS_HEAD = (
    *("method", "images from", "seeds", "student %", "spread", "gap to teacher", "rounds"),
    *("student updates", "teacher queries", "switched off", "other processes", "revision"),
)


@dataclass(frozen=True)
class MethodRuns:
    """The runs of one method that make one row: those of its newest revision, one a seed."""

    method: str
    lines: Sequence[Line]

    @property
    def accuracy(self) -> float:
        """Mean of the final students, in percent."""
        return float(mean(100 * line["student_accuracy"] for line in self.lines))

    @property
    def missing_terms(self) -> list[str]:
        """Terms of the method that are off because the teacher has no batch norm."""
        return list(facts_of_line(self.lines[0])["missing_terms"])

    @property
    def load(self) -> float | None:
        """Largest load by other processes during a run; None where a line does not record it."""
        loads = [line.get("others_processors") for line in self.lines]
        return None if None in loads else max(float(load) for load in loads if load is not None)

    @property
    def label(self) -> str:
        """The method's name with the marks of the row."""
        disturbed = self.load is not None and is_neighbour(self.load)
        marks = (MISSING if self.missing_terms else "") + (NEIGHBOUR if disturbed else "")
        return f"{self.method} {marks}".strip()


def methods_of(lines: Sequence[Line]) -> list[MethodRuns]:
    """One entry a method, the most accurate first."""
    rows = []
    for method in dict.fromkeys(line["method"] for line in lines):
        of_method = [line for line in lines if line["method"] == method]
        newest = max(of_method, key=lambda line: str(line["time"]))["git_revision"]
        of_newest = [line for line in of_method if line["git_revision"] == newest]
        rows.append(MethodRuns(method, one_a_seed(of_newest)))
    return sorted(rows, key=lambda row: row.accuracy, reverse=True)


def one_a_seed(lines: Sequence[Line]) -> list[Line]:
    """Of two runs with one seed, the one without a neighbour, then the newer one; by seed."""
    of_seed = {line["seed"]: line for line in sorted(lines, key=_trust)}
    return [of_seed[seed] for seed in sorted(of_seed)]


def _trust(line: Line) -> tuple[bool, str]:
    load = line.get("others_processors")
    return load is not None and not is_neighbour(load), str(line["time"])


def equal_seconds_rows(methods: Sequence[MethodRuns]) -> tuple[Row, list[Row]]:
    """Head and rows: mean and spread (largest less smallest) over seeds, the work done, and the marks."""
    rows = []
    for row in methods:
        scores = [100 * line["student_accuracy"] for line in row.lines]
        rows.append(
            (
                row.label,
                str(facts_of_line(row.lines[0])["image_source"]).replace("_", " "),
                str(len(row.lines)),
                f"{row.accuracy:.2f}",
                f"{max(scores) - min(scores):.2f}",
                f"{100 * mean(line['teacher_accuracy'] for line in row.lines) - row.accuracy:.2f}",
                f"{mean(line['steps'] for line in row.lines):,.0f}",
                *(_mean_amount(row.lines, name) for name in ("student_updates", "queries")),
                ", ".join(row.missing_terms) or "-",
                NOT_RECORDED if row.load is None else f"{row.load:.2f}",
                ", ".join(sorted({revision_text(line) for line in row.lines})),
            )
        )
    return EQUAL_SECONDS_HEAD, rows


def _mean_amount(lines: Sequence[Line], name: str) -> str:
    amounts = [final_amount(line, name) for line in lines]
    return NOT_RECORDED if None in amounts else f"{mean(a for a in amounts if a is not None):,.0f}"


def equal_work_rows(methods: Sequence[MethodRuns]) -> tuple[Row, list[Row]]:
    """Head and rows: accuracy in percent at two amounts of each kind of work.

    The first amount is the smallest that a run ends with; the second is the median over methods.
    """
    columns = [(name, amount) for name in AMOUNTS for amount in common_amounts(methods, name)]
    head = ("method", *(f"at {_number(amount)} {AMOUNTS[name]}" for name, amount in columns))
    rows = [(row.label, *(_cell(row.lines, name, amount) for name, amount in columns)) for row in methods]
    return head, rows


def _number(amount: float) -> str:
    return f"{amount:,.0f}" if amount >= 10 else f"{amount:.3g}"


def common_amounts(methods: Sequence[MethodRuns], name: str) -> list[float]:
    """The smallest final amount over all runs, and the median over methods; none if no run records it."""
    finals = []
    for row in methods:
        amounts = [amount for line in row.lines if (amount := final_amount(line, name)) is not None]
        finals += [min(amounts)] if amounts else []
    return sorted({min(finals), median_low(finals)}) if finals else []


def final_amount(line: Line, name: str) -> float | None:
    """The amount of work at the end of a run; None where it is not recorded."""
    return _amount(line, line["curve"][-1], name)


def accuracy_at(line: Line, name: str, amount: float) -> float | None:
    """Accuracy (0 to 1) at an amount of work, interpolated; None where the run has no curve around it."""
    points = [*line["curve"], *line.get("checkpoints", [])]
    placed = [(place, p["accuracy"]) for p in points if (place := _amount(line, p, name)) is not None]
    placed.sort()
    before = [point for point in placed if point[0] <= amount]
    after = [point for point in placed if point[0] >= amount]
    if not before or not after:
        return None
    (left, low), (right, high) = before[-1], after[0]
    share = 0.0 if right == left else (amount - left) / (right - left)
    return float(low + share * (high - low))


def _amount(line: Line, point: Line, name: str) -> float | None:
    if name != "student_updates":
        return point.get(name)
    updates = updates_a_round(line)
    return None if updates is None or "step" not in point else float(point["step"] * updates)


def _cell(lines: Sequence[Line], name: str, amount: float) -> str:
    """Mean over the runs that have a curve there; how many, if not all."""
    finals = [final_amount(line, name) for line in lines]
    known = [final for final in finals if final is not None]
    if len(known) < len(finals):
        return NOT_RECORDED
    if max(known) < amount:
        return f"ended at {_number(max(known))}"
    scores = [score for line in lines if (score := accuracy_at(line, name, amount)) is not None]
    if not scores:
        return NOT_RECORDED
    some = "" if len(scores) == len(lines) else f" ({len(scores)} of {len(lines)} seeds)"
    return f"{100 * mean(scores):.2f}{some}"


def machine_text(line: Line) -> str:
    """The machine of a run, with its threads and processes."""
    machine = line["machine"]
    threads = machine["threads"]
    on = machine.get("gpu") or f"{threads} thread{'s' if threads != 1 else ''} of {machine['cpu']}"
    processes = line.get("processes", 1)
    return str(on) if processes == 1 else f"{processes} processes, each on {on}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def legend(methods: Sequence[MethodRuns]) -> str:
    """What the marks of these rows mean, and what equal work does not equal."""
    sentences = []
    if any(row.missing_terms for row in methods):
        sentences.append(
            f"{MISSING} Incomplete method: the terms *switched off* need a teacher with batch norm, and this "
            "one has none."
        )
    if any(NEIGHBOUR in row.label for row in methods):
        sentences.append(
            f"{NEIGHBOUR} Measured with a neighbour: other processes kept more than {LOAD_LIMIT} processors "
            "busy during a run, so its rounds in these seconds are not comparable between rows."
        )
    return " ".join(sentences)


EQUAL_WORK_NOTE = (
    "The same runs at equal work, accuracy in percent, interpolated between the measurements of each run. A "
    "run's learning rate falls to zero at the end of its own seconds: where one method's run has ended, "
    "longer ones are in the middle of their schedule. A query counts once, whether or not a gradient goes "
    "through the teacher."
)
