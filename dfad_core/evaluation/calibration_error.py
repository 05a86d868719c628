"""Calibration of a student against its teacher's probabilities."""

from __future__ import annotations

import torch
from torch import Tensor

BINS = 15


def calibration_error(student_logits_NK: Tensor, teacher_logits_NK: Tensor) -> float:
    r"""Expected calibration error of the student against the teacher's probabilities: 0 to 1.

    .. math:: ECE = \sum_m \frac{|B_m|}{N} \left| \frac{1}{|B_m|} \sum_{i \in B_m}
              \left( q_{i, k_i} - p_{i, k_i} \right) \right|, \quad k_i = \arg\max_k q_{ik}

    Guo et al. 2017, arXiv 1706.04599, equation 3, with 15 bins of the student's confidence. Differs from the
    paper in that the teacher's probability of the student's class replaces the share of right answers, since
    there are no labels.
    """
    q_NK, p_NK = student_logits_NK.float().softmax(dim=1), teacher_logits_NK.float().softmax(dim=1)
    confidence_N, chosen_N = q_NK.max(dim=1)
    gap_N = confidence_N - p_NK.gather(1, chosen_N[:, None])[:, 0]
    bin_N = (confidence_N * BINS).long().clamp_max(BINS - 1)
    sums = torch.zeros(BINS, device=gap_N.device).index_add_(0, bin_N, gap_N)
    return float(sums.abs().sum().item()) / len(gap_N)
