"""A student that begins with its teacher's weights, where both have the same layers.

Shapes: B images, C channels of a layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dfad_core.networks.batch_norm import BN_LAYERS

LEAST_SHARE = 0.5
"""Least share of the student's kernels and matrices: where fewer fit, names agree by chance."""
COPIED_SCALE = 3.5
"""Scale of kernels copied from a folded teacher, in units of the student's own. Behind them batch norm takes
any scale, and the larger it is, the more slowly a kernel turns: copied ones are worth keeping. Kernels of
trained ResNets with batch norm are 3 to 4 times as large as at their start."""


@torch.no_grad()
def inherit(student: nn.Module, teacher: nn.Module, images_BCHW: Tensor) -> int:
    """Copy the teacher's tensors whose name and shape are those of one of the student's; returns their count.

    That fits networks of one family and width: a ResNet-18 has the first blocks of each stage of a ResNet-34.
    Nothing is copied, and 0 returned, where fewer than half of the student's kernels and matrices would be.

    A teacher whose BN is folded into its convolutions has none to copy. The student's BN layer behind a
    copied layer is then given that mean and deviation which the teacher's layer has on `images_BCHW`, and
    the copied kernels get `COPIED_SCALE` times the scale of the student's own.
    """
    own, other = student.state_dict(), teacher.state_dict()
    shared = {name for name, tensor in own.items() if name in other and other[name].shape == tensor.shape}
    kernels = [name for name, tensor in own.items() if tensor.dim() > 1]
    if sum(name in shared for name in kernels) < LEAST_SHARE * len(kernels):
        return 0
    first_scales = {name: own[name].square().mean().sqrt() for name in kernels}
    for name in shared:
        own[name].copy_(other[name])
    layers = [name.removesuffix(".weight") for name in kernels if name in shared and name.endswith(".weight")]
    norms = {
        layer: norm
        for layer, norm in _norms_behind(student, layers, images_BCHW)
        if f"{norm}.weight" not in shared
    }
    moments = _output_moments(teacher, norms, images_BCHW)
    for layer, (mean_C, std_C) in moments.items():
        norm = student.get_submodule(norms[layer])
        if isinstance(norm.weight, Tensor) and norm.weight.shape == std_C.shape:
            norm.weight.copy_(std_C)
            norm.bias.copy_(mean_C)  # type: ignore[operator]
            # Folded kernels have scales of all sizes. Batch norm takes any, but a learning rate fits one.
            kernel = own[f"{layer}.weight"]
            scales_C = kernel.flatten(1).square().mean(1).sqrt().clamp_min(1e-12)
            factor_C = COPIED_SCALE * first_scales[f"{layer}.weight"] / scales_C
            kernel.mul_(factor_C.view(-1, *[1] * (kernel.dim() - 1)))
    return len(shared)


def _norms_behind(student: nn.Module, layers: Iterable[str], images_BCHW: Tensor) -> list[tuple[str, str]]:
    """Pairs of a layer and the BN layer whose input is its output, by name."""
    outputs: dict[int, str] = {}
    kept: list[Tensor] = []
    pairs: list[tuple[str, str]] = []
    handles = []
    for name in layers:

        def note(_layer: nn.Module, _inputs: object, output: Tensor, name: str = name) -> None:
            kept.append(output)  # so that no other tensor gets its identity
            outputs[id(output)] = name

        handles.append(student.get_submodule(name).register_forward_hook(note))
    for norm, layer in student.named_modules():
        if isinstance(layer, BN_LAYERS):

            def find(_layer: nn.Module, inputs: tuple[Tensor, ...], norm: str = norm) -> None:
                if id(inputs[0]) in outputs:
                    pairs.append((outputs[id(inputs[0])], norm))

            handles.append(layer.register_forward_pre_hook(find))
    with _evaluated(student, handles):
        student(images_BCHW[:2])
    return pairs


def _output_moments(
    teacher: nn.Module, layers: Iterable[str], images_BCHW: Tensor
) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and deviation (C,) of the outputs of the teacher's layers, by name."""
    moments: dict[str, tuple[Tensor, Tensor]] = {}
    handles = []
    for name in layers:

        def note(_layer: nn.Module, _inputs: object, output: Tensor, name: str = name) -> None:
            std_C, mean_C = torch.std_mean(output.float().transpose(0, 1).flatten(1), dim=1)
            moments[name] = (mean_C, std_C)

        handles.append(teacher.get_submodule(name).register_forward_hook(note))
    with _evaluated(teacher, handles):
        if handles:
            teacher(images_BCHW)
    return moments


@contextmanager
def _evaluated(network: nn.Module, handles: list[torch.utils.hooks.RemovableHandle]) -> Iterator[None]:
    """Eval mode for the block; the hooks are removed after it."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode
