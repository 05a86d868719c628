"""Students and methods for a teacher, with what they cost, before anybody chooses."""

from __future__ import annotations

from dataclasses import dataclass

from app.jobs.estimate import PASSES_OF_AN_UPDATE, estimate
from app.jobs.schemas import JobSpec, StudentSpec
from dfad_core.contract.config import BudgetConfig, MethodConfig, TargetConfig
from dfad_core.contract.inspection import Inspection, MethodAdvice, Offer
from dfad_core.contract.methods import METHODS, Method

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

    students: tuple[Offer, ...]
    chosen: int | None
    """Which of them is ticked."""
    methods: list[Priced]


def offers(inspection: Inspection | None) -> Offers:
    """Those of one teacher, from its inspection."""
    students = (inspection.students if inspection is not None else None) or ()
    small = [place for place, one in enumerate(students) if one.compression >= USUAL_COMPRESSION]
    chosen = (small or [len(students) - 1])[0] if students else None
    teacher_macs = inspection.macs if inspection is not None else 0
    macs = students[chosen].macs if chosen is not None else teacher_macs / USUAL_COMPRESSION
    default = MethodConfig().name
    usual = _step_seconds(METHODS[default], inspection, macs)
    advice = {one.name: one for one in (inspection.methods if inspection is not None else ())}
    methods = []
    for name, method in METHODS.items():
        about = advice.get(name, MethodAdvice(name, True, method.summary))
        seconds = _step_seconds(method, inspection, macs)
        work = estimate(_steps_of(name, 1), inspection)
        methods.append(
            Priced(
                method, about.suits, about.reason, name == default,
                work.generator_updates, work.student_updates, seconds,
                seconds / usual if seconds is not None and usual else None,
            )
        )  # fmt: skip
    return Offers(students, chosen, sorted(methods, key=lambda one: (not one.default, not one.suits)))


def _steps_of(method: str, steps: int) -> JobSpec:
    student = StudentSpec(target=TargetConfig(max_parameters=1))
    return JobSpec(student=student, method=MethodConfig(method), budget=BudgetConfig(steps))


def _step_seconds(method: Method, inspection: Inspection | None, student_macs: float) -> float | None:
    """The teacher's passes, and the student's as if it were a teacher of its size.

    What the generator itself takes is not in it.
    """
    timing = inspection.timing if inspection is not None else None
    if inspection is None or timing is None or not timing.images or not inspection.macs:
        return None
    # Of many steps: seconds are rounded to tenths.
    work = estimate(_steps_of(method.name, MANY), inspection)
    forward = timing.forward_milliseconds / 1000 / timing.images
    student = work.student_images * forward * PASSES_OF_AN_UPDATE * student_macs / inspection.macs
    return ((work.teacher_seconds or 0.0) + student) / MANY
