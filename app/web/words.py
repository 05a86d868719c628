"""Figures and moments as people read them; the filters of the templates."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from jinja2 import Undefined
from markupsafe import Markup

from dfad_core.contract.inspection import Offer
from dfad_core.contract.job_result import AccuracyPrediction, ChosenStudent


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


def prediction(judged: AccuracyPrediction | None) -> str:
    """Predicted accuracy relative to the teacher's; – where there is none."""
    return share(judged.relative_accuracy) if judged else "–"


def interval(judged: AccuracyPrediction | None) -> str:
    """The interval of the prediction, or why there is none."""
    if not judged or judged.relative_accuracy is None:
        return (judged and judged.reason) or "nothing is predicted"
    return f"{100 * judged.level:.0f} % interval {share(judged.low)} to {share(judged.high)}"


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


FILTERS = (count, size, seconds, share, figure, when, ago, prediction, interval, named)
