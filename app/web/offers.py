"""Students and methods for a teacher, with what they cost, before anybody chooses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.jobs.estimate import estimate
from app.jobs.schemas import JobSpec, StudentSpec
from dfad_core.contract.config import BudgetConfig, MethodConfig, TargetConfig
from dfad_core.contract.methods import METHODS, Method

PASSES_OF_AN_UPDATE = 3
"""A gradient step in passes forward: there, back to the inputs, back to the weights."""
USUAL_COMPRESSION = 4
MANY = 1000


@dataclass(frozen=True)
class Priced:
    """A method, as far as a spec alone tells."""

    method: Method
    suits: bool
    reason: str
    default: bool
    generator_updates: int
    student_updates: int
    """Both for one step."""
    step_seconds: float | None
    """About, at the speed that the inspection saw; None where it saw none."""
    relative: float | None
    """To the default method's."""


@dataclass(frozen=True)
class Offers:
    """What the new-job form offers."""

    students: list[dict[str, Any]]
    chosen: int | None
    """Which of them is ticked."""
    methods: list[Priced]


def offers(inspection: Mapping[str, Any]) -> Offers:
    """Those of one teacher, from its inspection."""
    students = list(inspection.get("students") or [])
    small = [place for place, one in enumerate(students) if one["compression"] >= USUAL_COMPRESSION]
    chosen = (small or [len(students) - 1])[0] if students else None
    macs = students[chosen]["macs"] if chosen is not None else inspection.get("macs", 0) / USUAL_COMPRESSION
    default = MethodConfig().name
    usual = _step_seconds(METHODS[default], inspection, macs)
    told = {one["name"]: one for one in inspection.get("methods") or []}
    methods = []
    for name, method in METHODS.items():
        about = told.get(name, {"suits": True, "reason": method.summary})
        seconds = _step_seconds(method, inspection, macs)
        work = estimate(_steps_of(name, 1), inspection)
        methods.append(
            Priced(
                method, about["suits"], about["reason"], name == default,
                work.generator_updates, work.student_updates, seconds,
                seconds / usual if seconds is not None and usual else None,
            )
        )  # fmt: skip
    return Offers(students, chosen, sorted(methods, key=lambda one: (not one.default, not one.suits)))


def _steps_of(method: str, steps: int) -> JobSpec:
    student = StudentSpec(target=TargetConfig(max_parameters=1))
    return JobSpec(student=student, method=MethodConfig(method), budget=BudgetConfig(steps))


def _step_seconds(method: Method, inspection: Mapping[str, Any], student_macs: float) -> float | None:
    """The teacher's passes, and the student's as if it were a teacher of its size.

    What the generator itself takes is not in it.
    """
    timing, macs = inspection.get("timing"), inspection.get("macs")
    if not timing or not macs:
        return None
    # Of many steps: seconds are rounded to tenths.
    work = estimate(_steps_of(method.name, MANY), inspection)
    forward = float(timing["forward_milliseconds"]) / 1000 / int(timing["images"])
    student: float = work.student_images * forward * PASSES_OF_AN_UPDATE * student_macs / macs
    return ((work.teacher_seconds or 0.0) + student) / MANY
