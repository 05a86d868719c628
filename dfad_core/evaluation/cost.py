"""What a network costs: parameters, bytes, multiply-accumulates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Cost:
    """Of one network for one input."""

    parameters: int
    bytes: int
    """Of all its tensors, buffers included."""
    macs: int
    """Multiply-accumulates of convolutions and linear layers for one input."""


def cost(module: nn.Module, shape: tuple[int, int, int]) -> Cost:
    """Count `module` on one zero input of `shape` (C, H, W); the module's mode is left as it was."""
    macs = 0

    def counter(layer: nn.Module) -> Callable[[nn.Module, Any, Tensor], None]:
        def count(_layer: nn.Module, _inputs: Any, output: Tensor) -> None:
            nonlocal macs
            if isinstance(layer, nn.Conv2d):
                macs += output.numel() * layer.weight[0].numel()
            elif isinstance(layer, nn.Linear):
                macs += output.numel() * layer.in_features

        return count

    modes = {m: m.training for m in module.modules()}
    handles = [
        m.register_forward_hook(counter(m)) for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)
    ]
    try:
        parameter = next(module.parameters())
        with torch.no_grad():
            module.eval()(torch.zeros(1, *shape, device=parameter.device, dtype=parameter.dtype))
    finally:
        for handle in handles:
            handle.remove()
        for submodule, mode in modes.items():
            submodule.training = mode
    tensors = module.state_dict().values()
    return Cost(
        parameters=sum(p.numel() for p in module.parameters()),
        bytes=sum(prod(t.shape) * t.element_size() for t in tensors),
        macs=macs,
    )
