"""Images of the judge, of families that train no student; the same for a student and all its exports.

They follow from the teacher and the number of images alone, so that students of one teacher are compared on
equal terms. B images, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfad_core.contract.evaluation_plan import APPROACH_STEPS, DRAWN_FOR_EACH, Shape, batch_size, judge_images
from dfad_core.contract.limits import images_at_once
from dfad_core.evaluation.families import cells, fractals, plaids, strokes, weaves
from dfad_core.hooks import AnsweredImages
from dfad_core.networks.drawings.collages import Collages, Family
from dfad_core.networks.pass_memory import pass_memory
from dfad_core.networks.pixel_pyramid import PixelPyramid
from dfad_core.networks.pixel_range import PixelRange

Run = Callable[[Tensor], Tensor]
After = Callable[[int], object]
VERSION = 2
"""Grows with every change of images or signals, which needs a calibration of its own."""
SEED = 20_011
"""Of the drawings: that of no job, since every job's judge sees the same ones."""
BATCH = 128
"""Images in a batch; fewer where they or the networks are large."""
APPROACH_RATE = 0.2
LEAST_FINITE = 0.8
"""Least share of drawings to which the teacher's answers must be finite."""


def nothing(_: int) -> None:
    """Default for `after`: the caller needs no signs of life."""


class JudgeImages(Collages):
    """Collages of the judge's own families: strokes, cells, plaids, weaves and fractals."""

    families: ClassVar[tuple[tuple[Family, float], ...]] = (
        (strokes, 2.0),
        (cells, 1.5),
        (plaids, 1.0),
        (weaves, 1.0),
        (fractals, 1.0),
    )


def judge_sets(
    teacher: nn.Module, shape: Shape, pixels: PixelRange, num_images: int, after: After = nothing
) -> dict[str, AnsweredImages]:
    """The judge's images for a teacher in eval mode, by source, from the plainest to the nearest to its data:

    - `drawn`: `num_images` drawings;
    - `chosen`: of `DRAWN_FOR_EACH` times as many those of which the teacher is surest, its classes evenly;
    - `mixed`: pairs of chosen ones, blended;
    - `approached`: every second chosen one, after a few gradient steps of coarse grids towards its class.

    Images to which the teacher's answer is not finite are left out; {} where only few would be left, or
    none of a source.
    `after` is called with the size of each batch that the teacher has answered.
    """
    size, counts, memory = batch_size(shape, BATCH), judge_images(num_images), pass_memory(teacher, shape)
    most, most_near = (images_at_once(memory, size, gradient=gradient) for gradient in (False, True))
    source = JudgeImages(shape, pixels)
    stream = torch.Generator().manual_seed(SEED)
    drawings, answers = [], []
    for begin in range(0, DRAWN_FOR_EACH * num_images, size):
        count = min(size, DRAWN_FOR_EACH * num_images - begin)
        drawings.append(source(torch.randn(count, source.latent_dim, generator=stream)))
        answers.append(in_batches(teacher, drawings[-1], after, most=most))
    whole = _finite(AnsweredImages(torch.cat(drawings), torch.cat(answers)))
    del drawings, answers  # half of the memory
    if len(whole) < LEAST_FINITE * DRAWN_FOR_EACH * num_images:
        return {}
    chosen = whole.rows(surest(whole.teacher_BK, counts["chosen"]))
    shares_B111 = torch.empty(len(chosen), 1, 1, 1).uniform_(0.3, 0.7, generator=stream)
    partners_B = torch.randperm(len(chosen), generator=stream)
    mixed_BCHW = torch.lerp(chosen.images_BCHW[partners_B], chosen.images_BCHW, shares_B111)
    near = chosen.rows(torch.arange(0, len(chosen), 2)[: counts["approached"]])
    near_BCHW = _approached(teacher, near, pixels, most_near, after)
    if near_BCHW is None:
        return {}
    sets = {
        "drawn": whole.rows(torch.arange(min(num_images, len(whole)))),
        "chosen": chosen,
        "mixed": _finite(AnsweredImages(mixed_BCHW, in_batches(teacher, mixed_BCHW, after, most=most))),
        "approached": _finite(AnsweredImages(near_BCHW, in_batches(teacher, near_BCHW, after, most=most))),
    }
    return sets if all(map(len, sets.values())) else {}


def surest(logits_BK: Tensor, count: int) -> Tensor:
    """Rows of `count` images: of each class those of the largest probability, classes as even as can be."""
    confidence_B, class_B = logits_BK.softmax(1).max(1)
    place_B = torch.empty(len(class_B), dtype=torch.int64)
    for one in torch.unique(class_B):
        rows = (class_B == one).nonzero().flatten()
        place_B[rows[confidence_B[rows].argsort(descending=True, stable=True)]] = torch.arange(len(rows))
    # The first of every class, then the second ones, and so on; the surest first where not all fit.
    by_confidence = confidence_B.argsort(descending=True, stable=True)
    return by_confidence[place_B[by_confidence].argsort(stable=True)][:count]


def student_batch(student: nn.Module, shape: Shape) -> int:
    """Number of images in a pass of a student, or of an export of it, by its memory."""
    return images_at_once(pass_memory(student, shape), batch_size(shape, BATCH))


def in_batches(run: Run, images_BCHW: Tensor, after: After = nothing, *, most: int = BATCH) -> Tensor:
    """Logits (B, K) of a network or an export of one, in float32 on the CPU, from passes of `most` images.

    `after` is called with the size of each batch.
    """
    parameter = next(run.parameters(), None) if isinstance(run, nn.Module) else None
    device = torch.device("cpu") if parameter is None else parameter.device
    channels, height, width = images_BCHW.shape[1:]
    parts = []
    for part_BCHW in torch.split(images_BCHW, batch_size((channels, height, width), most)):
        with torch.no_grad():
            parts.append(run(part_BCHW.to(device)).float().cpu())
        after(len(part_BCHW))
    return torch.cat(parts)


def _finite(images: AnsweredImages) -> AnsweredImages:
    is_finite_B = images.teacher_BK.isfinite().all(1)
    return images if bool(is_finite_B.all()) else images.rows(is_finite_B.nonzero().flatten())


def _approached(
    teacher: nn.Module, images: AnsweredImages, pixels: PixelRange, size: int, after: After
) -> Tensor | None:
    """The images after gradient steps of their coarse grids towards the teacher's own class for them.

    Coarse grids alone: single pixels would turn into patterns that only this teacher sees. None for a teacher
    whose answers have no gradient.
    """
    device = next(teacher.parameters()).device
    parts = []
    batches = (torch.split(tensor, size) for tensor in (images.images_BCHW, images.teacher_BK))
    for x_BCHW, own_BK in zip(*batches, strict=True):
        pyramid = PixelPyramid(x_BCHW.to(device), pixels.bounds)
        rows, class_B = torch.arange(len(x_BCHW), device=device), own_BK.argmax(1).to(device)
        grids = list(pyramid.grids.parameters())
        optimizer = torch.optim.Adam(grids, APPROACH_RATE)
        for _ in range(APPROACH_STEPS):
            with torch.enable_grad():
                loss = F.cross_entropy(teacher(pyramid(rows)).float(), class_B, reduction="sum")
                if not loss.requires_grad:
                    return None
                gradients = torch.autograd.grad(loss, grids, materialize_grads=True)
            for grid, gradient in zip(grids, gradients, strict=True):
                grid.grad = gradient
            optimizer.step()
            after(len(x_BCHW))
        with torch.no_grad():
            parts.append(pyramid(rows).float().cpu())
    return torch.cat(parts)
