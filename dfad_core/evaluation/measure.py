"""Measurements of a student besides its fidelity: latencies, accuracy where there are labels, classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from dfad_core.contract.evaluation_plan import MOST_TIMED, batch_size, held_out_count, images_within
from dfad_core.contract.job_result import Accuracy
from dfad_core.contract.limits import images_at_once
from dfad_core.evaluation.accuracy import accuracy_over, chance_note
from dfad_core.evaluation.held_out import held_out_images
from dfad_core.evaluation.latency import latency
from dfad_core.evaluation.usability import Usability, usability
from dfad_core.formats import LoadedTeacher
from dfad_core.formats.labelled import Labelled
from dfad_core.hooks import Hooks, Pace
from dfad_core.networks.cost import Cost
from dfad_core.networks.input_statistics import pixel_range
from dfad_core.networks.pass_memory import pass_memory

MAX_BARS = 1000
"""Largest number of classes for which the result has a histogram."""
HISTOGRAM_BATCH = 64
"""Images in a batch; fewer where they are large."""


@dataclass(frozen=True)
class Subjects:
    """The two networks to measure, and the data for it."""

    teacher: LoadedTeacher
    student: nn.Module
    costs: Mapping[str, Cost]
    """Costs of `teacher` and `student`."""
    synthetic_BCHW: Tensor | None
    """Inputs that no student was trained on; None: `measure` makes some."""
    labelled: Labelled | None
    """Labelled data of the user, for accuracy alone."""
    seed: int


@dataclass
class Measurements:
    """Results of `measure` until now; a stop leaves the rest empty or None."""

    latency_milliseconds: dict[str, Mapping[str, float]] = field(default_factory=dict)
    """Latencies by network and batch size."""
    accuracy: Accuracy | None = None
    class_histogram: tuple[int, ...] | None = None
    """Number of synthetic inputs that the teacher assigns to each class."""
    usability: Usability | None = None
    """Verdict on whether the teacher separates synthetic images into classes at all."""


def measure(
    subjects: Subjects, measurements: Measurements, hooks: Hooks, device: torch.device, *, obeys: bool = True
) -> Tensor:
    """Measure latencies, accuracy and classes into `measurements`; return the synthetic inputs (B, C, H, W).

    With `obeys`, a stop of the hooks raises Stopped, and `measurements` holds the results until then.
    """
    labelled, shape = subjects.labelled, subjects.teacher.input.shape
    num_images = images_within(subjects.costs["teacher"].macs, held_out_count(shape))
    pace = Pace(
        hooks,
        "evaluating",
        total=num_images + (2 * labelled.count if labelled is not None else 0),
        obeys=obeys,
        later_seconds=hooks.later_seconds,
    )
    synthetic_BCHW = subjects.synthetic_BCHW
    if synthetic_BCHW is None:
        pace()
        pixels = pixel_range(subjects.teacher.input, subjects.teacher.module)
        synthetic_BCHW = held_out_images(shape, subjects.seed, None, 0, between=pace, pixels=pixels)
    networks = {"teacher": subjects.teacher.module, "student": subjects.student}
    # Both are timed on batches of the same sizes: those that the larger one allows.
    macs = max(subjects.costs[role].macs for role in networks)
    most = min(images_at_once(pass_memory(module, shape), MOST_TIMED) for module in networks.values())
    for role, module in networks.items():
        measurements.latency_milliseconds[role] = latency(
            module, shape, device, macs=macs, most=most, between=pace
        )
    if labelled is not None:
        measurements.accuracy = _accuracy(networks, labelled, subjects.teacher.num_classes, device, pace)
    counts = _class_counts(subjects.teacher, synthetic_BCHW[:num_images], pace)
    measurements.class_histogram = counts if len(counts) <= MAX_BARS else None
    measurements.usability = usability(counts)
    return synthetic_BCHW


def _accuracy(
    networks: Mapping[str, nn.Module], labelled: Labelled, classes: int, device: torch.device, pace: Pace
) -> Accuracy:
    shares = {
        role: accuracy_over(module.to(device), _paced_batches(labelled, pace))
        for role, module in networks.items()
    }
    networks["student"].cpu()
    return measured_accuracy(shares["teacher"], shares["student"], labelled, classes)


def measured_accuracy(teacher: float, student: float, labelled: Labelled, classes: int) -> Accuracy:
    """Both shares of right answers, with the notes on data and teacher."""
    chance = chance_note(teacher, labelled.count, classes)
    notes = (*labelled.notes, *([chance] if chance is not None else []))
    return Accuracy(teacher, student, labelled.count, labelled.name, notes)


def _paced_batches(labelled: Labelled, pace: Pace) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of the labelled data; each one is reported to `pace` after its use."""
    for x_BCHW, y_B in labelled.batches():
        yield x_BCHW, y_B
        pace(len(y_B))


def _class_counts(teacher: LoadedTeacher, synthetic_BCHW: Tensor, pace: Pace) -> tuple[int, ...]:
    """Number of synthetic images that the teacher assigns to each class."""
    device = next(teacher.module.parameters()).device
    classes, shape = [], teacher.input.shape
    batch = images_at_once(pass_memory(teacher.module, shape), batch_size(shape, HISTOGRAM_BATCH))
    for x_BCHW in torch.split(synthetic_BCHW, batch):
        with torch.no_grad():
            classes.append(teacher.module(x_BCHW.to(device)).argmax(1).cpu())
        pace(len(x_BCHW))
    return tuple(torch.bincount(torch.cat(classes), minlength=teacher.num_classes).tolist())
