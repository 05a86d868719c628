"""A job's series as one picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

PANELS = (
    ("Losses", ("student_loss", "generator_loss")),
    ("Agreement with the teacher on synthetic batches", ("agreement",)),
    ("Variety of the synthetic images", ("class_entropy", "sample_distance")),
)


def curves_svg(history: Sequence[Mapping[str, float]]) -> str:
    """An SVG of `history` (each with `seconds` and named values); "" if there is nothing to draw.

    A panel none of whose series is there is left out.
    """
    from matplotlib.figure import Figure

    panels = [panel for panel in PANELS if any(name in entry for entry in history for name in panel[1])]
    if len(history) < 2 or not panels:
        return ""
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    for axes, (title, names) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name in names:
            points = [(h["seconds"], h[name]) for h in history if name in h]
            if points:
                axes.plot(*zip(*points, strict=True), label=name.replace("_", " "), linewidth=1.2)
        axes.set_title(title, fontsize=8)
        axes.set_xlabel("seconds of training", fontsize=7)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=6)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :]
