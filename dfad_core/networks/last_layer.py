"""The layer that computes the logits, and its arithmetic in float32 under autocast."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_autocasts = threading.local()


@torch.no_grad()
def last_linear(module: nn.Module, example_BCHW: Tensor) -> nn.Module:
    """The linear layer that is called last, or the last convolution if there is none, or `module` itself."""
    called: list[nn.Module] = []

    def note(layer: nn.Module) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda _layer, _inputs: called.append(layer)

    linear: list[nn.Module] = [m for m in module.modules() if isinstance(m, nn.Linear)]
    layers = linear or [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    modes = [(m, m.training) for m in module.modules()]
    module.eval()  # BN must not use the example's statistics
    handles = [layer.register_forward_pre_hook(note(layer)) for layer in layers]
    try:
        module(example_BCHW)
    finally:
        for handle in handles:
            handle.remove()
        for submodule, mode in modes:
            submodule.training = mode
    return called[-1] if called else module


@contextmanager
def float32_logits(module: nn.Module, example_BCHW: Tensor) -> Iterator[None]:
    """For the block, the last linear layer of `module` computes outside of autocast, in its weights' type.

    bfloat16 has 8 bits of mantissa: logits from 16 to 32 would be rounded to multiples of 0.125, which
    affects L1 and KL gaps. Networks without a linear layer do not change.
    """
    layer = last_linear(module, example_BCHW)
    if not isinstance(layer, nn.Linear):
        yield
        return
    handles = [
        layer.register_forward_pre_hook(_leave_autocast),
        layer.register_forward_hook(_enter_autocast, always_call=True),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _leave_autocast(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Disable autocast until the layer's end, and convert its inputs to the type of its weights."""
    disabled = torch.autocast(inputs[0].device.type, enabled=False)
    disabled.__enter__()  # type: ignore[no-untyped-call]
    stack = _autocasts.__dict__.setdefault("stack", [])
    stack.append(disabled)
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return tuple(x.to(weight.dtype) for x in inputs)


def _enter_autocast(_layer: nn.Module, _inputs: tuple[Tensor, ...], _output: object) -> None:
    _autocasts.stack.pop().__exit__(None, None, None)
