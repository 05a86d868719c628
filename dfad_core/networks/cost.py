"""Cost of a network: parameters, bytes, multiply-accumulates."""

from __future__ import annotations

from math import prod

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dfad_core.contract.job_result import NetworkCost

FLOPS_OF_A_MAC = 2


Cost = NetworkCost


def cost(module: nn.Module, shape: tuple[int, int, int]) -> Cost:
    """Count `module` on one zero input of `shape` (C, H, W); the module's mode is left as it was."""
    modes = {m: m.training for m in module.modules()}
    counter = FlopCounterMode(display=False)
    try:
        parameter = next(module.parameters())
        with torch.no_grad(), counter:
            module.eval()(torch.zeros(1, *shape, device=parameter.device, dtype=parameter.dtype))
    finally:
        for submodule, mode in modes.items():
            submodule.training = mode
    tensors = module.state_dict().values()
    return Cost(
        parameters=sum(p.numel() for p in module.parameters()),
        bytes=sum(prod(t.shape) * t.element_size() for t in tensors),
        macs=counter.get_total_flops() // FLOPS_OF_A_MAC,
    )
