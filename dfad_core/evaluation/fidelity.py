"""Fidelity: how a student answers to the judge's images, compared with its teacher. Needs no data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import nn

from dfad_core.contract.evaluation_plan import MOST_IMAGES, Shape
from dfad_core.evaluation.judge_images import (
    BATCH,
    After,
    Run,
    in_batches,
    judge_sets,
    nothing,
    student_batch,
)
from dfad_core.evaluation.signals import signals
from dfad_core.hooks import AnsweredImages, Hooks, Pace
from dfad_core.networks.pixel_range import PixelRange


@dataclass
class Fidelity:
    """Figures, and what they rest on."""

    figures: dict[str, float] = field(default_factory=dict)
    """`<figure>_<source>`: the signals on each of the judge's sources."""
    sets: dict[str, AnsweredImages] = field(default_factory=dict)
    """The judge's images with the teacher's logits, by source."""
    complete: bool = True
    """False where the time ran out before all was measured: there are no figures then."""


class _OutOfTime(Exception):
    """Signal, not an error: the time of the evaluation is over."""


def measure_fidelity(
    teacher: nn.Module,
    student: nn.Module,
    *,
    shape: Shape,
    pixels: PixelRange,
    num_images: int = MOST_IMAGES,
    pace: Pace | None = None,
) -> Fidelity:
    """Compare two networks, in eval mode, on the judge's images of `shape` (C, H, W): see `judge_images`.

    `num_images` are plain drawings. `pace` is called after each batch, and may raise Stopped.
    """
    pace = pace or Pace(Hooks(), "evaluating")

    def after(images: int) -> None:
        pace(images)
        if pace.over():
            raise _OutOfTime

    with _in_eval_mode(teacher, student):
        try:
            sets = judge_sets(teacher, shape, pixels, num_images, after)
            figures = compared(student, sets, after, most=student_batch(student, shape))
            return Fidelity(figures, sets)
        except _OutOfTime:
            return Fidelity(complete=False)


def compared(
    run: Run, sets: Mapping[str, AnsweredImages], after: After = nothing, *, most: int = BATCH
) -> dict[str, float]:
    """The signals of `run`, a student or an export of it, on the judge's images, `most` at a time."""
    figures: dict[str, float] = {}
    for source, asked in sets.items():
        found = signals(asked.teacher_BK, in_batches(run, asked.images_BCHW, after, most=most))
        figures |= {f"{name}_{source}": value for name, value in found.items()}
    return figures


@contextmanager
def _in_eval_mode(*networks: nn.Module) -> Iterator[None]:
    modes = [network.training for network in networks]
    for network in networks:
        network.eval()
    try:
        yield
    finally:
        for network, mode in zip(networks, modes, strict=True):
            network.train(mode)
