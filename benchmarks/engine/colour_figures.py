"""The README's figures of CIFAR-10: the default method, its peers, the ablation of the paper's two ideas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.engine.method_table import MethodRuns, machine_text, markdown, one_a_seed
from benchmarks.machine_load import is_neighbour
from dfad_core.contract.methods import METHODS

Line = Mapping[str, Any]
Row = tuple[str, ...]

RAISED = str.maketrans("123456789", "¹²³⁴⁵⁶⁷⁸⁹")
PEERS_HEAD = ("method", "with batch norm", "folded away")
COLOUR_TEACHERS = {
    "cifar10-resnet20-public": "a ResNet-20 with batch norm",
    "cifar10-resnet20-folded": "the same ResNet-20 with its batch norm folded away at export",
}
"""Teacher of `benchmarks.colour` -> how the README names it."""
ABLATION = "ablation"
"""The recipe's name in the lines of the ablation."""
VARIANTS = {
    "plain": "plain",
    "regularizer": "with activation regularizer",
    "interpolation": "with virtual interpolation",
    "both": "with both",
}
"""Variant of a line -> how the table names it, in the table's order."""


def disturbed_text(runs: MethodRuns) -> str:
    """A sentence where another program ran beside the runs, else nothing."""
    is_disturbed = runs.load is None or is_neighbour(runs.load)
    return "\n  Another program ran on the machine meanwhile." if is_disturbed else ""


def colour_runs(lines: Sequence[Line]) -> dict[tuple[str, str], MethodRuns]:
    """By CIFAR-10 teacher and method: runs of its newest recipe with its own settings, one a seed.

    Runs of a ResNet-8 that were scored on the test images, for as many seconds as the newest such run.
    """
    scored = [
        line
        for line in lines
        if line["teacher"] in COLOUR_TEACHERS
        and line["student"] == "resnet8"
        and line["budget"]["kind"] == "seconds"
        and not (line["settings"] or line["variant"])
        and "accuracy" in line
    ]
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in scored:
        if line["budget"] == scored[-1]["budget"]:
            groups.setdefault((line["teacher"], line["method"]), []).append(line)
    return {
        key: MethodRuns(key[1], one_a_seed([one for one in group if one["recipe"] == group[-1]["recipe"]]))
        for key, group in groups.items()
    }


def colour_figures(lines: Sequence[Line]) -> Iterator[str]:
    """Sentences on the default method for CIFAR-10 teachers, and a table of all methods beside it."""
    found = colour_runs(lines)
    for teacher, title in COLOUR_TEACHERS.items():
        if (runs := found.get((teacher, "best"))) is None:
            continue
        of_student, of_teacher = (
            100 * median(line[name] for line in runs.lines) for name in ("accuracy", "teacher_accuracy")
        )
        first = runs.lines[0]
        yield f"- CIFAR-10, {title}, and a ResNet-8:"
        yield (
            f"  {of_student:.1f} % right where the teacher has {of_teacher:.1f} %, median of "
            f"{_seeds(runs)}, {first['budget']['amount']:,.0f} s on {machine_text(first)}."
            f"{disturbed_text(runs)}"
        )
    if len(found) > len({teacher for teacher, _ in found}):
        yield from ("", "All methods of the catalogue that ran so, on the same test images:", "")
        yield markdown(PEERS_HEAD, list(_peer_rows(found)))
        machines = _machines(found)
        if len(machines) > 1:
            marked = (f"{mark} {name}" for name, mark in machines.items())
            yield from ("", f"Seconds of different machines are not the same: {'; '.join(marked)}.")


def _machines(found: Mapping[tuple[str, str], MethodRuns]) -> dict[str, str]:
    """The machines that the runs were on, each with the mark that the table has for it."""
    names = dict.fromkeys(machine_text(line) for runs in found.values() for line in runs.lines)
    return {name: str(number).translate(RAISED) for number, name in enumerate(names, 1)}


def _peer_rows(found: Mapping[tuple[str, str], MethodRuns]) -> Iterator[Row]:
    """A row a method, the best first; with marks for the machines where there are several."""
    machines = _machines(found)

    def marks(runs: MethodRuns) -> str:
        names = dict.fromkeys(machine_text(line) for line in runs.lines)
        return f" {''.join(machines[name] for name in names)}" if len(machines) > 1 else ""

    scores = {key: 100 * median(line["accuracy"] for line in runs.lines) for key, runs in found.items()}
    methods = {method for _, method in found}
    for method in sorted(methods, key=lambda one: -max(scores.get((t, one), 0) for t in COLOUR_TEACHERS)):
        cells = [
            f"{scores[teacher, method]:.1f} % ({_seeds(found[teacher, method])})"
            f"{marks(found[teacher, method])}"
            if (teacher, method) in found
            else "-"
            for teacher in COLOUR_TEACHERS
        ]
        yield (METHODS[method].title, *cells)


def _seeds(runs: MethodRuns) -> str:
    return "1 seed" if len(runs.lines) == 1 else f"{len(runs.lines)} seeds"


def ablation_figures(lines: Sequence[Line]) -> Iterator[str]:
    """Tables of the ablation, one a budget: variants by teacher."""
    groups: dict[tuple[str, float], list[Line]] = {}
    for line in lines:
        if line["recipe"] == ABLATION and line["variant"] in VARIANTS and "accuracy" in line:
            groups.setdefault((line["budget"]["kind"], float(line["budget"]["amount"])), []).append(line)
    for (kind, amount), group in sorted(groups.items()):
        teachers = list(dict.fromkeys(line["teacher"] for line in group))
        what = "seconds" if kind == "seconds" else "updates of the student"
        machines = "; ".join(dict.fromkeys(machine_text(line) for line in group))
        yield from (
            "",
            f"The paper's ideas in the default method, {amount:,.0f} {what} on {machines}:",
            "",
        )
        rows = [
            (title, *(_ablation_cell(group, teacher, variant) for teacher in teachers))
            for variant, title in VARIANTS.items()
        ]
        yield markdown(("", *(COLOUR_TEACHERS.get(one, one) for one in teachers)), rows)


def _ablation_cell(lines: Sequence[Line], teacher: str, variant: str) -> str:
    """Median accuracy on the test images, its range and the number of seeds; a dash without runs."""
    chosen = [line for line in lines if (line["teacher"], line["variant"]) == (teacher, variant)]
    if not chosen:
        return "-"
    runs = MethodRuns(variant, one_a_seed(chosen))
    scores = sorted(100 * line["accuracy"] for line in runs.lines)
    return f"{median(scores):.1f} % ({scores[0]:.1f} to {scores[-1]:.1f}, {_seeds(runs)})"
