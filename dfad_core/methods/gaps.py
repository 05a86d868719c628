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

GAPS: dict[str, Gap] = {
    "l1": discrepancy,
    "squared": squared_error,
    "kl": divergence,
    "agreed": agreed_divergence,
    "jensen_shannon": jensen_shannon,
}


def gap_named(name: str, temperature: float = 1.0) -> Gap:
    """The gap called `name`; `temperature` softens the Kullback-Leibler divergence and nothing else."""
    return functools.partial(divergence, temperature=temperature) if name == "kl" else GAPS[name]
