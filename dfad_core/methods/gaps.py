"""The gaps between two networks' logits that a recipe can name."""

from __future__ import annotations

import functools
from collections.abc import Callable

from torch import Tensor

from dfad_core.losses.agreed_divergence import agreed_divergence
from dfad_core.losses.discrepancy import discrepancy
from dfad_core.losses.divergence import divergence
from dfad_core.losses.jensen_shannon import jensen_shannon
from dfad_core.losses.squared_error import squared_error

Gap = Callable[[Tensor, Tensor], Tensor]
"""(student's logits (B, K), teacher's logits (B, K)) -> scalar."""


def mean_divergence(student_logits_BK: Tensor, teacher_logits_BK: Tensor, temperature: float = 1.0) -> Tensor:
    """`divergence`, averaged over classes too: torch's default reduction, which some papers' code uses."""
    return divergence(student_logits_BK, teacher_logits_BK, temperature) / student_logits_BK.shape[1]


KL_GAPS = {"kl": divergence, "kl_mean": mean_divergence}
"""The gaps that take a temperature."""

GAPS: dict[str, Gap] = {
    "l1": discrepancy,
    "squared": squared_error,
    "agreed": agreed_divergence,
    "jensen_shannon": jensen_shannon,
}


def gap_named(name: str, temperature: float = 1.0) -> Gap:
    """The gap called `name`; only Kullback-Leibler divergences use the `temperature`."""
    kl_gap = KL_GAPS.get(name)
    return GAPS[name] if kl_gap is None else functools.partial(kl_gap, temperature=temperature)
