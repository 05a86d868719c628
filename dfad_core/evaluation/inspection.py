"""Inspection of a teacher: a description of the network before any training."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import asdict

import torch
from torch import Tensor, nn

from dfad_core.contract.inspection import (
    Inspection,
    MethodAdvice,
    NoiseAnswers,
    Offer,
    PassTimes,
    names_within,
)
from dfad_core.contract.methods import METHODS
from dfad_core.formats import LoadedTeacher
from dfad_core.formats.unfolded import with_batch_norm
from dfad_core.networks import build_classifier
from dfad_core.networks.batch_norm import bn_layers
from dfad_core.networks.cost import Cost, cost
from dfad_core.networks.derive import offered_students
from dfad_core.networks.pass_memory import pass_memory
from dfad_core.networks.pass_time import pass_milliseconds

NORMS = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm2d, nn.RMSNorm,
)  # fmt: skip
MAX_IMAGES, MAX_NUMBERS = 16, 2**17
"""Largest batch, in images and in pixel values, to limit memory; it has two images at least."""
TIMED_PASSES = 3
"""Number of passes. The fastest one counts: other programs slow passes down, but never speed them up."""
TIMED_SECONDS = 0.1
"""Time for the passes of one image through one network."""
HIGH_CONFIDENCE = 0.9
"""Mean confidence on noise from which a teacher gives nearly the same answer to every input."""


def inspect_teacher(teacher: LoadedTeacher, *, offers: bool) -> Inspection:
    """Costs, norm layers, a pass forward and back over noise, and suitable methods; eval mode throughout.

    With `offers` the inspection also names students, which takes some seconds. Times are those of this
    machine with the current number of threads. The teacher stays unchanged. One whose BN was folded away
    counts as one with BN statistics, without BN layers.
    """
    given, shape = teacher.module, teacher.input.shape
    teacher = with_batch_norm(teacher)
    module = teacher.module
    count = max(2, min(MAX_IMAGES, MAX_NUMBERS // math.prod(shape)))
    x_BCHW = torch.randn(count, *shape, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    logits_BK, gradient, timing = _passes(module, x_BCHW)
    answers = _noise_answers(logits_BK, teacher.num_classes)
    network, has_statistics = cost(given, shape), bool(bn_layers(module))
    return Inspection(
        architecture=teacher.architecture,
        args=teacher.args,
        num_classes=teacher.num_classes,
        input=teacher.input,
        format=teacher.file_format,
        **asdict(network),
        bn_layers=len(bn_layers(given)),
        norms=dict(Counter(type(m).__name__ for m in given.modules() if isinstance(m, NORMS))),
        bn_statistics=has_statistics,
        gradient=gradient,
        decided=answers,
        timing=timing,
        memory=pass_memory(module, shape),
        methods=_advice(has_statistics, shape[0], gradient, answers.confidence),
        students=_offers(teacher, network, x_BCHW) if offers else None,
        notes=tuple(teacher.notes),
        input_assumed=teacher.input_assumed,
        class_names=names_within(teacher.class_names),
    )


def _passes(module: nn.Module, x_BCHW: Tensor) -> tuple[Tensor, bool, PassTimes]:
    """Logits (B, K), whether the inputs have a gradient, and the times of both passes."""
    _has_gradient(module(x_BCHW), x_BCHW)  # the first pass of a network takes many times as long as any other
    forward_seconds, backward_seconds = [], []
    for _ in range(TIMED_PASSES):
        start = time.perf_counter()
        logits_BK = module(x_BCHW)
        forward_seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
        gradient = _has_gradient(logits_BK, x_BCHW)
        backward_seconds.append(time.perf_counter() - start)
    timing = PassTimes(
        images=len(x_BCHW),
        threads=torch.get_num_threads(),
        forward_milliseconds=round(1000 * min(forward_seconds), 2),
        backward_milliseconds=round(1000 * min(backward_seconds), 2),
        one_image_milliseconds=_one_image_milliseconds(module, x_BCHW),
    )
    return logits_BK.detach(), gradient, timing


@torch.no_grad()
def _one_image_milliseconds(module: nn.Module, x_BCHW: Tensor) -> float:
    return pass_milliseconds(module, x_BCHW[:1].detach(), most_seconds=TIMED_SECONDS)


def _has_gradient(logits_BK: Tensor, x_BCHW: Tensor) -> bool:
    """Whether the inputs' gradient is finite and not zero."""
    try:
        (gradient_BCHW,) = torch.autograd.grad(logits_BK.float().logsumexp(1).sum(), x_BCHW)
    except RuntimeError:
        return False
    return bool(torch.isfinite(gradient_BCHW).all()) and bool(gradient_BCHW.abs().max() > 0)


def _noise_answers(logits_BK: Tensor, num_classes: int) -> NoiseAnswers:
    probabilities_BK = torch.softmax(logits_BK.float(), 1)
    return NoiseAnswers(
        confidence=round(float(probabilities_BK.max(1).values.mean()), 4),
        classes=len(set(probabilities_BK.argmax(1).tolist())),
        of=min(num_classes, len(logits_BK)),
    )


def _advice(has_bn: bool, channels: int, gradient: bool, confidence: float) -> tuple[MethodAdvice, ...]:
    """Advice on each method of the catalogue: whether it suits such a teacher, and why."""
    advice = []
    for name, method in METHODS.items():
        suits, reason = True, method.summary
        learns = method.recipe_for(teacher_has_bn=has_bn, channels=channels).inner_steps > 0
        if learns and not gradient:
            suits, reason = False, "the teacher gives no gradient that a generator could learn from"
        elif method.needs_bn and not has_bn:
            suits, reason = False, "it is guided by batch-norm statistics, and the teacher has none"
        elif name == "noise" and confidence > HIGH_CONFIDENCE:
            suits, reason = False, "the teacher gives nearly the same sure answer to all noise"
        elif name == "best":
            reason = (
                "the teacher's batch-norm statistics hold the images near its data"
                if learns
                else "drawn images did best for such teachers where it could be measured"
            )
        advice.append(MethodAdvice(name, suits, reason))
    return tuple(advice)


def _offers(teacher: LoadedTeacher, teacher_cost: Cost, x_BCHW: Tensor) -> tuple[Offer, ...]:
    """Students of several sizes, each built once for its time."""
    students = offered_students(
        teacher=teacher.architecture,
        teacher_args=teacher.args,
        teacher_cost=teacher_cost,
        num_classes=teacher.num_classes,
        input_shape=teacher.input.shape,
    )
    return tuple(
        Offer(
            student.architecture,
            student.args,
            **asdict(student.cost),
            compression=round(teacher_cost.parameters / student.cost.parameters, 2),
            memory=student.memory,
            one_image_milliseconds=_one_image_milliseconds(
                build_classifier(
                    student.architecture,
                    num_classes=teacher.num_classes,
                    input_shape=teacher.input.shape,
                    args=student.args,
                ).eval(),
                x_BCHW,
            ),
        )
        for student in students
    )
