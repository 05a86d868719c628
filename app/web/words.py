"""Figures and moments as people read them; the filters of the templates."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from jinja2 import Undefined
from markupsafe import Markup

from dfad_core.contract.inspection import Offer
from dfad_core.contract.job_result import ChosenStudent, JobResult


def _none(value: Any) -> bool:
    return value is None or isinstance(value, Undefined)


def count(number: Any) -> str:
    """1234567 as 1,234,567."""
    return "–" if _none(number) else f"{number:,.0f}"


def size(number: Any) -> str:
    """Bytes with a unit."""
    if _none(number):
        return "–"
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:,.0f} {unit}" if unit == "B" else f"{number:,.1f} {unit}"
        number /= 1024
    return f"{number:,.1f} GiB"


def seconds(number: Any) -> str:
    """As h, min and s; tenths below ten seconds."""
    if _none(number):
        return "–"
    if 0 < number < 9.95:
        return f"{number:.1f} s"
    whole = round(number)
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def share(number: Any) -> str:
    """A share of 1 in per cent."""
    return "–" if _none(number) else f"{100 * number:.1f} %"


def figure(number: Any) -> str:
    """A reading of a series."""
    return "–" if _none(number) else f"{number:,.4g}" if abs(number) < 1000 else f"{number:,.0f}"


def when(moment: datetime | None) -> str:
    """UTC, to the second."""
    return "–" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"


def ago(moment: datetime | None) -> str:
    """How long ago, with the moment itself for whoever asks."""
    if moment is None:
        return "–"
    past = max(0.0, (datetime.now(UTC) - moment).total_seconds())
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if past >= length:
            text = f"{past // length:.0f} {unit} ago"
            break
    else:
        text = "just now"
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        moment.isoformat(), when(moment), text
    )


def fidelity(result: JobResult | None) -> str:
    """How often the student answers as the teacher does, on the inputs for which that followed accuracy."""
    if result is None:
        return "–"
    shown = result.fidelity_proof or result.fidelity
    parts = [
        f"{share(value)} of {name.removeprefix('agreement_').replace('_', ' ')} inputs"
        for name, value in result.fidelity.items()
        if name.startswith("agreement_") and name in shown and value is not None
    ]
    return ", ".join(parts) or "–"


def evaluation(result: JobResult | None) -> str:
    """The basis of the figures of fidelity; empty where it is unknown."""
    about = result.evaluation if result is not None else None
    if about is None:
        return ""
    duration = seconds(about.seconds)
    if about.complete:
        return f"{count(about.images)} images of each source, in {duration}"
    by_source = about.measured
    images = f"{count(sum(by_source.values()))} of {count(about.images * len(by_source))} images"
    late = about.seconds >= about.bound_seconds
    why = f"its time, {seconds(about.bound_seconds)}, was over" if late else "it was stopped"
    return f"{images if by_source else 'none'}, in {duration}: {why}"


def agreement(result: JobResult | None) -> str:
    """The same as one figure, for lists."""
    figures = result.fidelity if result is not None else {}
    return share(figures.get("trusted_agreement", figures.get("agreement_procedural")))


def named(student: Mapping[str, Any] | ChosenStudent | Offer) -> str:
    """A student in few words: of a spec, derived from a target, or offered for a teacher."""
    if isinstance(student, ChosenStudent | Offer):
        student = {"architecture": student.architecture, "args": student.args}
    if student.get("architecture"):
        args = ", ".join(f"{name} {value}" for name, value in (student.get("args") or {}).items())
        return f"{student['architecture']}, {args}" if args else str(student["architecture"])
    for way in ("layers", "transformers"):
        if student.get(way):
            return f"as {way}"
    return "derived"


FILTERS = (count, size, seconds, share, figure, when, ago, fidelity, evaluation, agreement, named)
