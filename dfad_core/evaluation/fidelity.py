"""Fidelity: agreement of student and teacher on synthetic inputs that the student was never trained on.

It needs no data. It is not accuracy and must not be called so.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from dfad_core.contract.evaluation_plan import HELD_OUT_NUMBERS, LEAST_BATCH, Shape
from dfad_core.contract.evaluation_plan import batch_size as batch_for
from dfad_core.contract.limits import images_at_once
from dfad_core.evaluation.bn_distance import BnDistance
from dfad_core.evaluation.calibration_error import calibration_error
from dfad_core.evaluation.diversity import class_entropy_of, sample_distance
from dfad_core.evaluation.suite import Maker, makers, sizes
from dfad_core.evaluation.transition import transition_error
from dfad_core.hooks import Hooks, Pace
from dfad_core.losses.discrepancy import discrepancy
from dfad_core.losses.divergence import divergence
from dfad_core.networks.pass_memory import pass_memory

BATCH, PATH_BATCH = 256, 64
"""Images in a batch, for plain passes and for the paths of the transition error."""
COMPARED = 256
"""Images of each source, its first ones, for the sample distance and the BN distance; fewer where they are
large."""
PATH_IMAGES = 64
"""Images of each source for the transition error."""


@dataclass
class Fidelity:
    """Figures, and the number of images of each source behind them."""

    figures: dict[str, float] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)
    complete: bool = True
    """Whether everything was measured; False where the time ran out before."""


def fidelity(
    teacher: nn.Module,
    student: nn.Module,
    *,
    shape: Shape,
    generator: nn.Module | None = None,
    latent_dim: int = 0,
    seed: int = 0,
    num_images: int = 1024,
    batch_size: int = BATCH,
) -> dict[str, float]:
    """The figures of `measure_fidelity`, however long it takes."""
    sources = makers(shape, seed, next(teacher.parameters()).device, generator, latent_dim)
    return measure_fidelity(
        teacher, student, sources, shape=shape, seed=seed, num_images=num_images, batch_size=batch_size
    ).figures


def measure_fidelity(
    teacher: nn.Module,
    student: nn.Module,
    sources: dict[str, Maker],
    *,
    shape: Shape,
    seed: int = 0,
    num_images: int = 1024,
    path_images: int = PATH_IMAGES,
    batch_size: int = BATCH,
    pace: Pace | None = None,
) -> Fidelity:
    """Compare two networks in eval mode on inputs of `shape` (C, H, W), source by source.

    Sources are those of `suite.makers`. For each:

    - `agreement_<source>`: share of equal largest classes, 0 to 1;
    - `divergence_<source>`: Kullback-Leibler divergence, student from teacher, in nats;
    - `logit_gap_<source>`: mean absolute difference of the logits;
    - `calibration_error_<source>`: the student's confidence against the teacher's, 0 to 1;
    - `transition_error_<source>`: gap of probabilities on the way to another class, 0 to 1;
    - `class_entropy_<source>`: how evenly the teacher's classes occur, 0 to 1;
    - `sample_distance_<source>`: how unlike each other the images are;
    - `bn_distance_<source>`: how far they lie from the teacher's training data (teachers with BN alone).

    And `trusted_agreement`: the agreements' mean over sources, each weighted by exp(-bn_distance), so that
    sources near the teacher's domain count more; the plain mean without BN. All in float32.

    `pace` is called after each batch and may raise Stopped. Each source has an equal share of its time. After
    its share a source gets no more images and no transition error; after the whole time, the remaining
    sources get none. Figures that were not measured are absent.
    """
    pace = pace or Pace(Hooks(), "evaluating")
    modes = teacher.training, student.training
    teacher.eval()
    student.eval()
    batch, path_batch = batch_for(shape, batch_size), batch_for(shape, PATH_BATCH)
    memory, most = pass_memory(student, shape), images_at_once(pass_memory(teacher, shape), batch)
    most = images_at_once(memory, most)
    path_batch = images_at_once(memory, min(most, path_batch), gradient=True)
    comparison = _Comparison(
        teacher, student, shape, seed, num_images, path_images, batch, most, path_batch, pace
    )
    result = Fidelity()
    try:
        for number, source in enumerate(sorted(sources), 1):
            result.images[source] = 0
            if not pace.over():
                figures, images = comparison.on(sources[source], number / len(sources))
                result.images[source] = images
                result.figures |= {f"{name}_{source}": value for name, value in figures.items()}
    finally:
        teacher.train(modes[0])
        student.train(modes[1])
    # The transition error is the last figure of each source: where it is present, the source is complete.
    result.complete = all(f"transition_error_{source}" in result.figures for source in sources)
    result.figures |= _trusted_agreement(result.figures, sorted(sources))
    return result


@dataclass(frozen=True)
class _Comparison:
    """Comparison of two networks, with its settings."""

    teacher: nn.Module
    student: nn.Module
    shape: Shape
    seed: int
    num_images: int
    path_images: int
    batch: int
    """Images that are made at one time."""
    at_once: int
    """Images in a pass of the networks, by their memory; `path_batch` for passes there and back."""
    path_batch: int
    pace: Pace

    def on(self, maker: Maker, share: float) -> tuple[dict[str, float], int]:
        """Figures of one source and its number of images; ends once `share` of the pace's time is spent."""
        first: list[Tensor] = []
        answers: list[tuple[Tensor, Tensor]] = []
        enough = min(COMPARED, max(LEAST_BATCH, HELD_OUT_NUMBERS // math.prod(self.shape)))
        distance, images = BnDistance(self.teacher), 0
        for size in sizes(self.num_images, self.batch):
            if images and self.pace.over(share):
                break
            with torch.no_grad():
                x_BCHW = maker(size).float()
                if images < enough:
                    first.append(x_BCHW)
                for part_BCHW in torch.split(x_BCHW, self.at_once):
                    with distance.reading() if images < enough else nullcontext():
                        teacher_BK = self.teacher(part_BCHW).float()
                    answers.append((teacher_BK, self.student(part_BCHW).float()))
            images += size
            self.pace(size)
        teacher_NK, student_NK = (torch.cat(a) for a in zip(*answers, strict=True))
        first_NCHW = torch.cat(first)
        figures = _figures(teacher_NK, student_NK)
        figures["sample_distance"] = sample_distance(first_NCHW)
        bn_distance = distance.value()
        if bn_distance is not None:
            figures["bn_distance"] = bn_distance
        if images == self.num_images and not self.pace.over(share):
            paths_BCHW = first_NCHW[: self.path_images]
            figures["transition_error"] = transition_error(
                self.teacher,
                self.student,
                paths_BCHW,
                self.seed,
                batch_size=self.path_batch,
                after=self.pace,
            )
        return figures, images


def _figures(teacher_NK: Tensor, student_NK: Tensor) -> dict[str, float]:
    same_N = teacher_NK.argmax(dim=1) == student_NK.argmax(dim=1)
    return {
        "agreement": float(same_N.double().mean().item()),
        "divergence": float(divergence(student_NK, teacher_NK).item()),
        "logit_gap": float(discrepancy(student_NK, teacher_NK).item()),
        "calibration_error": calibration_error(student_NK, teacher_NK),
        "class_entropy": class_entropy_of(teacher_NK),
    }


def _trusted_agreement(figures: dict[str, float], sources: list[str]) -> dict[str, float]:
    """The figure `trusted_agreement` over the sources that were measured; empty where none was."""
    measured = [source for source in sources if f"agreement_{source}" in figures]
    if not measured:
        return {}
    weights = [math.exp(-figures.get(f"bn_distance_{source}", 0.0)) for source in measured]
    agreements = [figures[f"agreement_{source}"] for source in measured]
    if sum(weights) == 0:  # all distances are so large that every weight underflows
        weights = [1.0] * len(measured)
    total = sum(w * a for w, a in zip(weights, agreements, strict=True))
    return {"trusted_agreement": total / sum(weights)}
