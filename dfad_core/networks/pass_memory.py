"""Memory that passes of a network keep for a gradient, by a trace of one image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from dfad_core.contract.limits import PassMemory


def pass_memory(
    module: nn.Module,
    inputs_1: Tensor | tuple[int, ...],
    autocast: AbstractContextManager[object] | None = None,
) -> PassMemory:
    """Trace `module` forward on one input (1, ...), or on zeros of a shape without the 1, in eval mode.

    Nothing is computed where the module lies on the meta device. Tensors that share memory count once, and
    weights do not count. The module stays as it was.
    """
    if not isinstance(inputs_1, Tensor):
        like = next(module.parameters(), torch.zeros(()))
        inputs_1 = torch.zeros(1, *inputs_1, device=like.device, dtype=like.dtype)
    weights = {tuple(p.shape) for p in module.parameters() if p.dim() > 1}
    with _for_trace(module), autocast or nullcontext():
        kept = _kept(module, inputs_1.detach().requires_grad_(True), weights)
    return PassMemory(sum(kept), max(kept, default=0))


def _kept(module: nn.Module, inputs_1: Tensor, weights: set[tuple[int, ...]]) -> list[int]:
    """Bytes of each storage that a pass keeps. `weights`: shapes of weights, which autocast copies."""
    own = {t.untyped_storage()._cdata for t in (*module.parameters(), *module.buffers())}
    kept: dict[int, tuple[Tensor, int]] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own and tuple(tensor.shape) not in weights:
            kept[storage._cdata] = (tensor, storage.nbytes())  # alive, so that its address stays its own
        return tensor

    with torch.enable_grad(), saved_tensors_hooks(note, lambda tensor: tensor):
        outputs = module(inputs_1)
    del outputs
    return [size for _, size in kept.values()]


@contextmanager
def _for_trace(module: nn.Module) -> Iterator[None]:
    """Eval mode, and weights that learn, for the block."""
    modes = [(m, m.training) for m in module.modules()]
    learning = [(p, p.requires_grad) for p in module.parameters()]
    module.eval()
    for parameter, _ in learning:
        parameter.requires_grad_(parameter.is_floating_point())
    try:
        yield
    finally:
        for submodule, mode in modes:
            submodule.training = mode
        for parameter, learns in learning:
            parameter.requires_grad_(learns)
