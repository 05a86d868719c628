"""One self-contained HTML page about one job."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dfad_core.evaluation import proof
from dfad_core.report.curves import curves_svg

TEMPLATE = "card.html.j2"


def render_report(
    result: Mapping[str, Any],
    *,
    history: Sequence[Mapping[str, float]],
    samples_png: bytes | None,
    title: str,
    proven: Mapping[str, Mapping[str, float]] | None = None,
) -> str:
    """The page. `result` is a job's result; names in it are untrusted text and are escaped.

    The page asks no other host for anything. Accuracy stands in it only if `result["accuracy"]` does,
    with the data that it was measured on. Of fidelity only the figures stand in it that were seen to follow
    accuracy (`evaluation.proof`), with how closely they did; `proven` replaces what is committed there.
    """
    trusted = proof.proven() if proven is None else proven
    shown = {name: value for name, value in (result["fidelity"] or {}).items() if name in trusted}
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(TEMPLATE).render(
        title=title,
        result=result,
        fidelity=shown,
        proven=trusted,
        threshold=proof.THRESHOLD,
        curves=curves_svg(history),
        samples=base64.b64encode(samples_png).decode() if samples_png else None,
    )
