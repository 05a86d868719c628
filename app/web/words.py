"""Figures and moments as people read them; the filters of the templates."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from jinja2 import Undefined
from markupsafe import Markup

from dfad_core.contract.inspection import Offer
from dfad_core.contract.job_result import AccuracyPrediction, ChosenStudent, JobResult


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


def prediction(result: JobResult | None) -> str:
    """Predicted accuracy relative to the teacher's; – where there is none."""
    judged = _sound_prediction(result)
    return share(judged.relative_accuracy) if judged is not None else "–"


def interval(result: JobResult | None) -> str:
    """The interval of the prediction and what it rests on, or why there is none."""
    judged = _sound_prediction(result)
    if judged is None or judged.relative_accuracy is None:
        return (judged.reason if judged is not None else None) or "nothing was predicted"
    return (
        f"{100 * judged.level:.0f} % interval {share(judged.low)} to {share(judged.high)}, "
        f"from {count(judged.jobs)} jobs of known accuracy"
    )


def _sound_prediction(result: JobResult | None) -> AccuracyPrediction | None:
    """The prediction, unless the student is unusable."""
    return None if result is None or result.usable is False else result.prediction


def evaluation(result: JobResult | None) -> str:
    """The images behind the prediction; empty where they are unknown."""
    about = result.evaluation if result is not None else None
    if about is None:
        return ""
    duration = seconds(about.seconds)
    if about.complete:
        return f"{count(sum(about.measured.values()))} drawn images, in {duration}"
    late = about.seconds >= about.bound_seconds
    why = f"its time, {seconds(about.bound_seconds)}, was over" if late else "it was stopped"
    return f"too few images, in {duration}: {why}"


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


FILTERS = (count, size, seconds, share, figure, when, ago, prediction, interval, evaluation, named)
