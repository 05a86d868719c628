"""What is measured of a student beside its fidelity: times, accuracy where there are labels, and classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dfad_core.contract.evaluation_plan import batch_size, held_out_count, images_within
from dfad_core.evaluation.accuracy import accuracy_over
from dfad_core.evaluation.latency import latency
from dfad_core.evaluation.suite import held_out_images
from dfad_core.evaluation.usability import usability
from dfad_core.formats import LoadedTeacher
from dfad_core.formats.labelled import Labelled
from dfad_core.hooks import Hooks
from dfad_core.networks.input_statistics import pixel_range
from dfad_core.pace import Pace

if TYPE_CHECKING:
    from dfad_core.job_result import Trained

MOST_BARS = 1000
"""Classes of which a histogram is made."""
HISTOGRAM_BATCH = 64
"""Images at a time, fewer where they are large."""


def measure(trained: Trained, hooks: Hooks, result: dict[str, Any], device: torch.device) -> Tensor:
    """Times, accuracy and classes into the result; images that nobody was trained on. Raises Stopped."""
    labelled, shape = trained.labelled, trained.teacher.input.shape
    seen = images_within(trained.costs["teacher"].macs, held_out_count(shape))
    pace = Pace(
        hooks,
        "evaluating",
        total=seen + (2 * labelled.count if labelled is not None else 0),
        obeys=not trained.stopped,
        later_seconds=hooks.later_seconds,
    )
    synthetic_BCHW = trained.done.synthetic_BCHW
    if synthetic_BCHW is None:
        pace()
        pixels = pixel_range(trained.teacher.input, trained.teacher.module)
        synthetic_BCHW = held_out_images(shape, trained.config.seed, None, 0, between=pace, pixels=pixels)
    for who, module in (("teacher", trained.teacher.module), ("student", trained.student)):
        macs = trained.costs[who].macs
        result[who]["latency_milliseconds"] = latency(module, shape, device, macs=macs, between=pace)
    result["accuracy"] = _accuracy(trained, device, pace)
    counts = _class_counts(trained.teacher, synthetic_BCHW[:seen], pace)
    result["class_histogram"] = counts if len(counts) <= MOST_BARS else None
    verdict = usability(counts)
    result["usable"], result["unusable_reason"] = verdict.usable, verdict.reason
    return synthetic_BCHW


def _accuracy(trained: Trained, device: torch.device, pace: Pace) -> dict[str, Any] | None:
    """On the user's labelled data, if there are any; they are used for nothing else."""
    labelled = trained.labelled
    if labelled is None:
        return None
    found = {}
    for who, module in (("teacher", trained.teacher.module), ("student", trained.student)):
        found[who] = accuracy_over(module.to(device), _counted(labelled, pace))
    trained.student.cpu()
    return {**found, "images": labelled.count, "data": labelled.name, "notes": list(labelled.notes)}


def _counted(labelled: Labelled, pace: Pace) -> Iterator[tuple[Tensor, Tensor]]:
    """Its batches; the pace hears of each when it has been used."""
    for x_BCHW, y_B in labelled.batches():
        yield x_BCHW, y_B
        pace(len(y_B))


def _class_counts(teacher: LoadedTeacher, synthetic_BCHW: Tensor, pace: Pace) -> list[int]:
    """How often the teacher gives each class to synthetic images that no student was trained on."""
    device = next(teacher.module.parameters()).device
    classes = []
    for x_BCHW in torch.split(synthetic_BCHW, batch_size(teacher.input.shape, HISTOGRAM_BATCH)):
        with torch.no_grad():
            classes.append(teacher.module(x_BCHW.to(device)).argmax(1).cpu())
        pace(len(x_BCHW))
    return torch.bincount(torch.cat(classes), minlength=teacher.num_classes).tolist()
