"""One self-contained HTML page about one job."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dfad_core.contract.job_result import JobResult
from dfad_core.report.curves import curves_svg

TEMPLATE = "card.html.j2"
MOST_BARS = 200
"""Largest number of classes with a bar each: more do not fit into the page's width."""


def render_report(
    result: JobResult,
    *,
    history: Sequence[Mapping[str, float]],
    samples_png: bytes | None,
    earlier_png: Sequence[tuple[int, bytes]] = (),
    settings: Mapping[str, Any] | None = None,
    title: str,
    loading: Sequence[str] = (),
) -> str:
    """The page. Names in `result` are untrusted text and are escaped.

    `earlier_png` are earlier pictures with their steps; `settings` is the job's resolved spec; `loading` are
    lines of Python that load the student into the library that has its network. The page loads nothing from
    another host. It shows accuracy only where `result.accuracy` has any, with the data that it
    was measured on, and predicted accuracy as a prediction, with its interval. Where `result.usable` is
    False, the page begins with `result.unusable_reason`, and no curve shows agreement.
    """
    usable = result.usable is not False
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(TEMPLATE).render(
        title=title,
        result=result,
        usable=usable,
        batches=list(result.teacher.latency_milliseconds or ("1", "64")),
        curves=curves_svg(history if usable else [_without_agreement(entry) for entry in history]),
        samples=_embedded(samples_png) if samples_png else None,
        earlier=[(step, _embedded(picture)) for step, picture in earlier_png],
        settings=None if settings is None else json.dumps(settings, indent=2, sort_keys=True),
        loading=loading,
        bars=_bars(result.class_histogram, result.class_names),
    )


def _without_agreement(entry: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in entry.items() if name != "agreement"}


def _embedded(picture: bytes) -> str:
    return base64.b64encode(picture).decode()


def _bars(counts: Sequence[int] | None, names: Sequence[str] | None) -> list[tuple[str, int, float]]:
    """Class, count and height in per cent of the highest; [] if there is nothing to draw."""
    if not counts or len(counts) > MOST_BARS:
        return []
    highest = max(counts) or 1
    if names is None or len(names) != len(counts):
        names = [f"class {number}" for number in range(len(counts))]
    return [(name, count, 100 * count / highest) for name, count in zip(names, counts, strict=True)]
