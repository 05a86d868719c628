"""Figures of two networks' logits on the same images, from which the judge predicts accuracy.

N images, K classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dfad_core.evaluation.diversity import class_entropy_of
from dfad_core.losses.divergence import divergence


def signals(teacher_NK: Tensor, student_NK: Tensor) -> dict[str, float]:
    """The figures, in float64. Answers of the student that are not finite count as equal logits.

    - `agreement`: share of equal largest classes, 0 to 1; `balanced_agreement`: its mean over the teacher's
      classes; `sure_agreement`: with images weighted by the teacher's margin between its first two classes;
    - `divergence`: Kullback-Leibler divergence, student from teacher, in nats;
    - `correlation`: Pearson's, of the logits centred in each image, -1 to 1;
    - `gap`: root mean square of the centred logits' difference, relative to the teacher's own;
    - `confidence_gap`: the student's mean confidence minus the teacher's, -1 to 1;
    - `nuclear_norm`: that of the student's matrix of probabilities, relative to the teacher's;
    - `teacher_confidence`, `teacher_margin` (logits), `class_entropy`: of the teacher alone.
    """
    teacher_NK, student_NK = teacher_NK.double(), student_NK.double().nan_to_num(0.0, 0.0, 0.0)
    p_NK, q_NK = teacher_NK.softmax(1), student_NK.softmax(1)
    class_N = teacher_NK.argmax(1)
    same_N = (class_N == student_NK.argmax(1)).double()
    first_two = teacher_NK.topk(2, dim=1).values
    margin_N = first_two[:, 0] - first_two[:, 1]
    t_NK, s_NK = (x - x.mean(1, keepdim=True) for x in (teacher_NK, student_NK))
    power = math.sqrt(float(t_NK.square().mean()) * float(s_NK.square().mean()))
    return {
        "agreement": float(same_N.mean()),
        "balanced_agreement": float(
            torch.stack([same_N[class_N == one].mean() for one in torch.unique(class_N)]).mean()
        ),
        "sure_agreement": float((same_N * margin_N).sum() / margin_N.sum().clamp_min(1e-12)),
        "divergence": float(divergence(student_NK, teacher_NK)),
        "correlation": float((t_NK * s_NK).mean()) / max(power, 1e-12),
        "gap": math.sqrt(float((t_NK - s_NK).square().mean()) / max(float(t_NK.square().mean()), 1e-12)),
        "confidence_gap": float(q_NK.amax(1).mean() - p_NK.amax(1).mean()),
        "nuclear_norm": _nuclear_norm(q_NK) / max(_nuclear_norm(p_NK), 1e-12),
        "teacher_confidence": float(p_NK.amax(1).mean()),
        "teacher_margin": float(margin_N.mean()),
        "class_entropy": class_entropy_of(teacher_NK),
    }


def _nuclear_norm(probabilities_NK: Tensor) -> float:
    """Sum of singular values: large where answers are sure and of many classes (Cui et al. 2020, arXiv
    2003.12237)."""
    return float(torch.linalg.matrix_norm(probabilities_NK, "nuc"))
