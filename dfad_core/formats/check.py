"""Comparing an exported student with the trained one, before anybody is offered it.

`_BCHW`: batch, channels, height, width; `_NK`: images, classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dfad_core.contract.errors import ExportError
from dfad_core.contract.evaluation_plan import batch_size
from dfad_core.hooks import Between, nothing

TOLERANCE = 1e-4
"""Largest difference of a logit, as a share of the largest logit (at least of 1)."""
BATCH = 64
"""Images in a batch, fewer where they are large."""
Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Comparison:
    """Two networks on the same inputs."""

    max_difference: float
    """Of a logit."""
    largest_logit: float
    agreement: float
    """Share of inputs with the same largest class."""
    images: int

    @property
    def within_tolerance(self) -> bool:
        """Whether the difference is rounding alone."""
        return self.max_difference <= TOLERANCE * max(1.0, self.largest_logit)

    def figures(self) -> dict[str, Any]:
        """Of an exported student and the trained one, as a job's result has them."""
        return {
            "max_difference": self.max_difference,
            "agreement_with_student": self.agreement,
            "images": self.images,
        }


def compare(first: Run, second: Run, x_BCHW: Tensor, between: Between = nothing) -> Comparison:
    """On inputs in the normalised space, and as many of N(0, 1) noise; batches of several sizes.

    `between` is called after each batch. Raises ExportError where the second gives no such logits.
    """
    noise = torch.randn(x_BCHW.shape, generator=torch.Generator().manual_seed(0))
    channels, height, width = x_BCHW.shape[1:]
    batch = batch_size((channels, height, width), BATCH)
    batches = [*torch.split(x_BCHW, batch), noise[:1], *torch.split(noise[1:], batch - 1)]
    pairs = []
    for x in batches:
        if len(x):
            with torch.no_grad():
                pairs.append((first(x).float().cpu(), second(x).float().cpu()))
            between()
    one_NK, other_NK = (torch.cat(logits) for logits in zip(*pairs, strict=True))
    if one_NK.shape != other_NK.shape or not bool(torch.isfinite(other_NK).all()):
        raise ExportError("The exported student gives no logits like the trained one's.")
    return Comparison(
        float((one_NK - other_NK).abs().max()),
        float(one_NK.abs().max()),
        float((one_NK.argmax(1) == other_NK.argmax(1)).double().mean()),
        len(one_NK),
    )


def require_same(
    name: str, module: nn.Module, exported: Run, x_BCHW: Tensor, between: Between = nothing
) -> Comparison:
    """`compare`; raises ExportError where the two differ by more than rounding."""
    comparison = compare(module.eval(), exported, x_BCHW, between)
    if not comparison.within_tolerance:
        raise ExportError(
            f"As {name} the student answers otherwise (by up to {comparison.max_difference:.2g}).", param=name
        )
    return comparison
