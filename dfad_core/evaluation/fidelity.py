"""Fidelity: how far the student answers as the teacher does, on inputs it was never trained on.

Without data this is all that can be measured. It is not accuracy and must not be called so.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dfad_core.evaluation.bn_distance import bn_distance
from dfad_core.evaluation.calibration_error import calibration_error
from dfad_core.evaluation.diversity import class_entropy_of, sample_distance
from dfad_core.evaluation.suite import Shape, makers, sizes
from dfad_core.evaluation.transition import transition_error
from dfad_core.losses import discrepancy, divergence

PATH_IMAGES = 64
"""Images of each source that are moved between classes."""


def fidelity(
    teacher: nn.Module,
    student: nn.Module,
    *,
    shape: Shape,
    generator: nn.Module | None = None,
    latent_dim: int = 0,
    seed: int = 0,
    num_images: int = 1024,
    batch_size: int = 256,
) -> dict[str, float]:
    """Compare two networks in eval mode on inputs drawn from `seed`, source by source.

    Sources are those of `suite.makers`; a given `generator` is left in the mode it is in. For each:

    - `agreement_<source>`: share of equal largest classes, 0 to 1;
    - `divergence_<source>`: Kullback-Leibler divergence, student from teacher, in nats;
    - `logit_gap_<source>`: mean absolute difference of the logits;
    - `calibration_error_<source>`: the student's sureness against the teacher's, 0 to 1;
    - `transition_error_<source>`: gap of probabilities on the way to another class, 0 to 1;
    - `class_entropy_<source>`: how evenly the teacher's classes occur, 0 to 1;
    - `sample_distance_<source>`: how unlike each other the images are;
    - `bn_distance_<source>`: how far they lie from the teacher's training data (teachers with BN alone).

    And `trusted_agreement`: the agreements' mean over sources, each weighted by exp(-bn_distance), so that
    sources near the teacher's domain count more; the plain mean without BN. All in float32.
    """
    device = next(teacher.parameters()).device
    modes = teacher.training, student.training
    teacher.eval()
    student.eval()
    found: dict[str, float] = {}
    sources = makers(shape, seed, device, generator, latent_dim)
    for source in sorted(sources):
        with torch.no_grad():
            images = [sources[source](size).float() for size in sizes(num_images, batch_size)]
            answers = [(teacher(x).float(), student(x).float()) for x in images]
        teacher_NK, student_NK = (torch.cat(a) for a in zip(*answers, strict=True))
        figures = _compare(teacher_NK, student_NK)
        figures["transition_error"] = transition_error(teacher, student, images[0][:PATH_IMAGES], seed)
        figures["sample_distance"] = sample_distance(images[0])
        distance = bn_distance(teacher, images[0])
        if distance is not None:
            figures["bn_distance"] = distance
        found |= {f"{name}_{source}": value for name, value in figures.items()}
    found["trusted_agreement"] = _trusted(found, sorted(sources))
    teacher.train(modes[0])
    student.train(modes[1])
    return found


def _compare(teacher_NK: Tensor, student_NK: Tensor) -> dict[str, float]:
    same_N = teacher_NK.argmax(dim=1) == student_NK.argmax(dim=1)
    return {
        "agreement": float(same_N.double().mean().item()),
        "divergence": float(divergence(student_NK, teacher_NK).item()),
        "logit_gap": float(discrepancy(student_NK, teacher_NK).item()),
        "calibration_error": calibration_error(student_NK, teacher_NK),
        "class_entropy": class_entropy_of(teacher_NK),
    }


def _trusted(found: dict[str, float], sources: list[str]) -> float:
    weights = [math.exp(-found.get(f"bn_distance_{source}", 0.0)) for source in sources]
    agreements = [found[f"agreement_{source}"] for source in sources]
    return sum(w * a for w, a in zip(weights, agreements, strict=True)) / sum(weights)
