"""Measurements of a student beside its fidelity: latencies, accuracy where there are labels, classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from dfad_core.contract.evaluation_plan import batch_size, held_out_count, images_within
from dfad_core.contract.job_result import Accuracy
from dfad_core.evaluation.accuracy import accuracy_over
from dfad_core.evaluation.latency import latency
from dfad_core.evaluation.suite import held_out_images
from dfad_core.evaluation.usability import Usability, usability
from dfad_core.formats import LoadedTeacher
from dfad_core.formats.labelled import Labelled
from dfad_core.hooks import Hooks, Pace
from dfad_core.networks.cost import Cost
from dfad_core.networks.input_statistics import pixel_range

MAX_BARS = 1000
"""Largest number of classes for which a histogram is made."""
HISTOGRAM_BATCH = 64
"""Images at a time, fewer where they are large."""


@dataclass(frozen=True)
class Subjects:
    """The two networks that are measured, and the data for it."""

    teacher: LoadedTeacher
    student: nn.Module
    costs: Mapping[str, Cost]
    """Of `teacher` and `student`."""
    synthetic_BCHW: Tensor | None
    """Inputs that were not trained on; None: they are drawn here."""
    labelled: Labelled | None
    """The user's labelled data, used for accuracy alone."""
    seed: int


@dataclass
class Measurements:
    """What has been measured until now; a stop leaves the rest None."""

    latency_milliseconds: dict[str, Mapping[str, float]] = field(default_factory=dict)
    """By network and batch size."""
    accuracy: Accuracy | None = None
    class_histogram: tuple[int, ...] | None = None
    """Number of synthetic inputs that the teacher assigns to each class."""
    usability: Usability | None = None
    """Whether the teacher tells synthetic images apart at all."""


def measure(
    subjects: Subjects, found: Measurements, hooks: Hooks, device: torch.device, *, obeys: bool = True
) -> Tensor:
    """Latencies, accuracy and classes into `found`; returns inputs (B, C, H, W) that were not trained on.

    With `obeys`, a stop of the hooks is raised as Stopped, and `found` has what was measured before.
    """
    labelled, shape = subjects.labelled, subjects.teacher.input.shape
    seen = images_within(subjects.costs["teacher"].macs, held_out_count(shape))
    pace = Pace(
        hooks,
        "evaluating",
        total=seen + (2 * labelled.count if labelled is not None else 0),
        obeys=obeys,
        later_seconds=hooks.later_seconds,
    )
    synthetic_BCHW = subjects.synthetic_BCHW
    if synthetic_BCHW is None:
        pace()
        pixels = pixel_range(subjects.teacher.input, subjects.teacher.module)
        synthetic_BCHW = held_out_images(shape, subjects.seed, None, 0, between=pace, pixels=pixels)
    networks = {"teacher": subjects.teacher.module, "student": subjects.student}
    for role, module in networks.items():
        macs = subjects.costs[role].macs
        found.latency_milliseconds[role] = latency(module, shape, device, macs=macs, between=pace)
    if labelled is not None:
        found.accuracy = _accuracy(networks, labelled, device, pace)
    counts = _class_counts(subjects.teacher, synthetic_BCHW[:seen], pace)
    found.class_histogram = counts if len(counts) <= MAX_BARS else None
    found.usability = usability(counts)
    return synthetic_BCHW


def _accuracy(
    networks: Mapping[str, nn.Module], labelled: Labelled, device: torch.device, pace: Pace
) -> Accuracy:
    shares = {
        role: accuracy_over(module.to(device), _counted(labelled, pace)) for role, module in networks.items()
    }
    networks["student"].cpu()
    return Accuracy(**shares, images=labelled.count, data=labelled.name, notes=tuple(labelled.notes))


def _counted(labelled: Labelled, pace: Pace) -> Iterator[tuple[Tensor, Tensor]]:
    """Its batches; each is reported to the pace after its use."""
    for x_BCHW, y_B in labelled.batches():
        yield x_BCHW, y_B
        pace(len(y_B))


def _class_counts(teacher: LoadedTeacher, synthetic_BCHW: Tensor, pace: Pace) -> tuple[int, ...]:
    """How often the teacher gives each class to synthetic images that no student was trained on."""
    device = next(teacher.module.parameters()).device
    classes = []
    for x_BCHW in torch.split(synthetic_BCHW, batch_size(teacher.input.shape, HISTOGRAM_BATCH)):
        with torch.no_grad():
            classes.append(teacher.module(x_BCHW.to(device)).argmax(1).cpu())
        pace(len(x_BCHW))
    return tuple(torch.bincount(torch.cat(classes), minlength=teacher.num_classes).tolist())
