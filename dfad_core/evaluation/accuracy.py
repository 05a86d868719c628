"""Accuracy on labelled data of the caller."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from dfad_core.hooks import Between, nothing

CHANCE_ERROR = 0.01
"""Probability of each error of `chance_note`, at most."""


def accuracy(module: nn.Module, x_BCHW: Tensor, y_B: Tensor, batch_size: int = 512) -> float:
    """Share of `x_BCHW` whose largest logit is the label in `y_B`; the module is put in eval mode."""
    return accuracy_over(
        module, zip(torch.split(x_BCHW, batch_size), torch.split(y_B, batch_size), strict=True)
    )


@torch.no_grad()
def accuracy_over(
    run: Callable[[Tensor], Tensor], batches: Iterable[tuple[Tensor, Tensor]], between: Between = nothing
) -> float:
    """`accuracy` of a function from images to logits over batches; `between` is called after each.

    A module is put in eval mode, and batches are moved to its device.
    """
    parameter = None
    if isinstance(run, nn.Module):
        run.eval()
        parameter = next(run.parameters(), None)
    hits = total = 0
    for x_BCHW, y_B in batches:
        device = y_B.device if parameter is None else parameter.device
        hits += int((run(x_BCHW.to(device)).argmax(1) == y_B.to(device)).sum())
        total += len(y_B)
        between()
    return hits / total


def chance_note(share: float, images: int, classes: int) -> str | None:
    """A note if a teacher with this share of right answers is at chance; None otherwise.

    At chance: its answers are not significantly better than 1/classes, and significantly worse than
    halfway between chance and 1, which most teachers exceed. A few images show neither.
    """
    chance = 1 / classes
    usual = (1 + chance) / 2
    above = share > chance and tail_bound(share, images, chance) <= CHANCE_ERROR
    below = share < usual and tail_bound(share, images, usual) <= CHANCE_ERROR
    if above or not below:
        return None
    return (
        f"The teacher is right on {share:.1%} of the images, and guessing would be on {chance:.1%}: the "
        "labels may be in another order, or the images are not prepared as in its training (size, mean, std)."
    )


def tail_bound(share: float, count: int, probability: float) -> float:
    """Bound on the probability of `share` or a share further from `probability` in `count` trials.

    exp(-n KL(share || p)): Hoeffding 1963, theorem 1.
    """
    pairs = ((share, probability), (1 - share, 1 - probability))
    divergence = sum(a * math.log(a / b) for a, b in pairs if a > 0)
    return math.exp(-count * divergence)
