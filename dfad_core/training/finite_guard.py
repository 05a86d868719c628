"""Stops a run at the first non-finite loss, before the update that would spread it."""

from __future__ import annotations

import torch
from torch import Tensor

from dfad_core.errors import DivergedError


class FiniteGuard:
    """Looks at every loss before its update.

    On the CPU it raises at once. On CUDA asking for the value would wait for the device in every
    step; there a flag stays on the device, the fused optimizers skip their update while it is set
    (the mechanism of gradient scaling, which other optimizers refuse), and `raise_if_set` reads it
    whenever figures are read anyway. `deferred` chooses between the two; None: deferred on CUDA.
    """

    def __init__(self, device: torch.device, *, deferred: bool | None = None) -> None:
        self._deferred = device.type == "cuda" if deferred is None else deferred
        self._flag = torch.zeros((), device=device)

    def check(self, loss: Tensor, optimizer: torch.optim.Optimizer, phase: str) -> None:
        """Raise DivergedError, or where that is deferred set the flag, if `loss` is NaN or infinite."""
        if not self._deferred:
            if not bool(torch.isfinite(loss)):
                raise DivergedError(f"the {phase}'s loss is not finite", param=phase)
            return
        # In place: the optimizers, and a recorded step, know this very tensor.
        torch.maximum(self._flag, (~torch.isfinite(loss.detach())).float(), out=self._flag)
        self.protect(optimizer)

    def protect(self, optimizer: torch.optim.Optimizer) -> None:
        """Let `optimizer`, a fused one, make no update while the flag is set."""
        if self._deferred:
            optimizer.found_inf = self._flag  # type: ignore[attr-defined]

    def raise_if_set(self) -> None:
        """Raise DivergedError if any loss until now was non-finite; waits for the device."""
        if self._deferred and bool(self._flag):
            raise DivergedError("a loss is not finite; no update was made from it")
