"""Comparison of an exported student with the trained one, before it is offered.

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
"""Number of images in a batch, fewer where they are large."""
Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Comparison:
    """Two networks on the same inputs."""

    max_difference: float
    """Largest difference of a logit."""
    largest_logit: float
    agreement: float
    """Share of inputs with the same largest class."""
    images: int

    @property
    def within_tolerance(self) -> bool:
        """Whether the difference can be rounding alone."""
        return self.max_difference <= TOLERANCE * max(1.0, self.largest_logit)

    def figures(self) -> dict[str, Any]:
        """Figures for a job's result, for an exported student compared with the trained one."""
        return {
            "max_difference": self.max_difference,
            "agreement_with_student": self.agreement,
            "images": self.images,
        }


def compare(first: Run, second: Run, x_BCHW: Tensor, between: Between = nothing) -> Comparison:
    """Compare on `x_BCHW` in the normalised space. Batches have several sizes.

    `between` is called after each. Raises ExportError where the second network's
    logits have another shape or are not finite.
    """
    channels, height, width = x_BCHW.shape[1:]
    batch = batch_size((channels, height, width), BATCH)
    batches = [x_BCHW[:1], *torch.split(x_BCHW[1:], batch)]
    pairs = []
    for x in batches:
        if len(x):
            with torch.no_grad():
                pairs.append((first(x).float().cpu(), second(x).float().cpu()))
            between()
    first_NK, second_NK = (torch.cat(logits) for logits in zip(*pairs, strict=True))
    if first_NK.shape != second_NK.shape or not bool(torch.isfinite(second_NK).all()):
        raise ExportError("The exported student's logits have another shape or are not finite.")
    return Comparison(
        float((first_NK - second_NK).abs().max()),
        float(first_NK.abs().max()),
        float((first_NK.argmax(1) == second_NK.argmax(1)).double().mean()),
        len(first_NK),
    )


def require_same(
    name: str, module: nn.Module, exported: Run, x_BCHW: Tensor, between: Between = nothing
) -> Comparison:
    """`compare`; raises ExportError where the two differ by more than `TOLERANCE`."""
    comparison = compare(module.eval(), exported, x_BCHW, between)
    if not comparison.within_tolerance:
        raise ExportError(
            f"As {name} the student's logits differ by up to {comparison.max_difference:.2g}.", param=name
        )
    return comparison
