"""Accuracy against time and against teacher queries, as committed SVG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Line = Mapping[str, Any]

AXES = {"seconds": "seconds", "queries": "teacher queries"}


def draw(lines: Sequence[Line], path: Path, against: str, title: str) -> None:
    """One curve a method: the mean over its seeds at each tenth of the run, the spread as a band.

    The same lines give the same bytes.
    """
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    mpl.rcParams.update({"svg.hashsalt": "dfad", "svg.fonttype": "none", "font.size": 9})
    figure, axes = plt.subplots(figsize=(7, 4.2))
    curves = {m: _curve(runs, against) for m, runs in by_method(lines).items()}
    order = sorted((m for m in curves if curves[m] is not None), key=lambda m: -curves[m][1].mean(0)[-1])
    colours = plt.get_cmap("tab20")
    for number, method in enumerate(order):
        where, scores = curves[method]
        colour = colours(number % 20)
        axes.plot(where, scores.mean(0), label=method, color=colour, linewidth=2 if method == "best" else 1)
        axes.fill_between(where, scores.min(0), scores.max(0), color=colour, alpha=0.12, linewidth=0)
    axes.set(xlabel=AXES[against], ylabel="accuracy of the student, %", title=title)
    if against == "queries":
        axes.set_xscale("log")
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def by_method(lines: Sequence[Line]) -> dict[str, list[Line]]:
    """The lines of each method."""
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(line["method"], []).append(line)
    return groups


def _curve(lines: Sequence[Line], against: str) -> Any:
    """Mean places and each run's scores (runs, points); None where a run does not record them."""
    curves = [line["curve"] for line in lines]
    points = min(len(curve) for curve in curves)
    if not all(against in point for curve in curves for point in curve):
        return None
    where = np.mean([[point[against] for point in curve[-points:]] for curve in curves], axis=0)
    return where, 100 * np.array([[point["accuracy"] for point in curve[-points:]] for curve in curves])
