"""Optimizers of student and generator: fused, with decoupled weight decay, and resumable."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

PEAK_RATES = {"adam": 2e-3, "sgd": 0.05}
"""Student's peak learning rate where the job names none."""


@contextmanager
def trainable(module: nn.Module) -> Iterator[None]:
    """`requires_grad` on for the block and off after it."""
    module.requires_grad_(True)
    try:
        yield
    finally:
        module.requires_grad_(False)


def make_optimizer(
    kind: str,
    parameters: list[nn.Parameter],
    rate: float,
    weight_decay: float = 0.0,
    *,
    rate_as_tensor: bool = False,
) -> torch.optim.Optimizer:
    """`adam` (AdamW) or `sgd` (Nesterov, momentum 0.9), with one fused kernel for all parameters.

    Weight decay is decoupled from Adam's second moment (Loshchilov and Hutter 2019, arXiv 1711.05101), so its
    strength does not depend on the scale of the loss, and acts on matrices and kernels alone: biases and the
    scales of norm layers are vectors. Only fused optimizers skip an update when `FiniteGuard` asks for it.
    `rate_as_tensor`: a recorded CUDA graph reads the rate from memory.
    """
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    lr = torch.tensor(rate, device=parameters[0].device) if rate_as_tensor else rate
    if kind == "sgd":
        sgd = torch.optim.SGD(groups, lr, momentum=0.9, nesterov=True, fused=True)
        # Torch takes uninitialised memory for them in the first step, and a skipped step does not fill it.
        for parameter in parameters:
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return sgd
    return torch.optim.AdamW(groups, lr, fused=True, capturable=rate_as_tensor)


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load moments and counts of `state`; learning rate and `capturable` stay this optimizer's own.

    Every round writes the rate anew, and a recorded CUDA graph knows its tensor. The checkpoint's rate is
    another tensor, or a number, depending on whether that run recorded its steps.
    """
    own: list[dict[str, Any]] = [
        {name: group[name] for name in ("lr", "capturable") if name in group}
        for group in optimizer.param_groups
    ]
    optimizer.load_state_dict(state)
    for group, values in zip(optimizer.param_groups, own, strict=True):
        group.update(values)


class Phase:
    """The training of one module: the module, its optimizer and its peak learning rate."""

    name = ""

    def __init__(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.module, self.optimizer = module, optimizer
        self._peak = float(optimizer.param_groups[0]["lr"])

    @property
    def rate(self) -> float:
        """The current learning rate."""
        return float(self.optimizer.param_groups[0]["lr"])

    def set_rate(self, factor: float) -> None:
        """Use `factor` times the peak rate from now on."""
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(self._peak * factor)
            else:
                group["lr"] = self._peak * factor

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state; the module's weights are in the run's."""
        return {"optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what `state_dict` returned."""
        load_optimizer(self.optimizer, state["optimizer"])
