"""Figures and moments as people read them; the filters of the templates."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from jinja2 import Undefined
from markupsafe import Markup


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


def fidelity(result: dict[str, Any] | None) -> str:
    """How often the student gives the teacher's answer, on the inputs for which that was shown to tell."""
    found = (result or {}).get("fidelity") or {}
    shown = (result or {}).get("fidelity_proof") or found
    told = [
        f"{share(value)} of {name.removeprefix('agreement_').replace('_', ' ')} inputs"
        for name, value in found.items()
        if name.startswith("agreement_") and name in shown and value is not None
    ]
    return ", ".join(told) or "–"


def evaluation(result: dict[str, Any] | None) -> str:
    """What the figures of fidelity rest on; empty where nothing tells."""
    about = (result or {}).get("evaluation")
    if not about:
        return ""
    took, planned = seconds(about["seconds"]), about["images"]
    if about["complete"]:
        return f"{count(planned)} images of each source, in {took}"
    by_source = about.get("measured") or {}
    images = f"{count(sum(by_source.values()))} of {count(planned * len(by_source))} images"
    late = about["seconds"] >= about["bound_seconds"]
    why = f"its time, {seconds(about['bound_seconds'])}, was over" if late else "it was stopped"
    return f"{images if by_source else 'none'}, in {took}: {why}"


def agreement(result: dict[str, Any] | None) -> str:
    """The same as one figure, for lists."""
    found = (result or {}).get("fidelity") or {}
    return share(found.get("trusted_agreement", found.get("agreement_procedural")))


def named(student: dict[str, Any]) -> str:
    """A student of a spec in few words."""
    if student.get("architecture"):
        args = ", ".join(f"{name} {value}" for name, value in (student.get("args") or {}).items())
        return f"{student['architecture']}, {args}" if args else str(student["architecture"])
    for way in ("layers", "transformers"):
        if student.get(way):
            return f"as {way}"
    return "derived"


FILTERS = (count, size, seconds, share, figure, when, ago, fidelity, evaluation, agreement, named)
