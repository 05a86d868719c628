"""A convolution with BN that can be folded again: what `unfolding` puts in the place of a folded one."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


class UnfoldedConv(nn.Conv2d):
    """The function of a convolution with a bias, as a convolution without one and BN.

    Any mean and variance may be set: scale and shift of the BN follow, so that the function stays. Parameters
    and state are those of the convolution.
    """

    bias: nn.Parameter

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__(**_arguments(conv))
        assert conv.bias is not None
        self.weight, self.bias = conv.weight, nn.Parameter(conv.bias.detach(), requires_grad=False)
        self.norm = _Statistics(conv.bias)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        normalised: Tensor = self.norm(self._conv_forward(images_BCHW, self.weight, None))
        return normalised

    @property
    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and variance (C,) of the outputs by the BN, copied."""
        assert self.norm.running_var is not None
        return self.norm.bias.clone(), self.norm.running_var.clone()

    @torch.no_grad()
    def set_statistics(self, mean_C: Tensor, var_C: Tensor) -> None:
        """Set the BN's statistics such that the layer's outputs have this mean and variance (C,) by them."""
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(mean_C - self.bias)
        norm.running_var.copy_(var_C)
        norm.weight.copy_((norm.running_var + norm.eps).sqrt())
        norm.bias.copy_(mean_C)

    def refolded(self) -> nn.Conv2d:
        """One convolution with a bias again, which shares its tensors with this one."""
        conv = nn.Conv2d(**_arguments(self))
        conv.weight, conv.bias = self.weight, self.bias
        return conv


class _Statistics(nn.BatchNorm2d):
    """BN whose scale and shift follow from the statistics: none of its tensors is a parameter or stored."""

    weight: Tensor  # type: ignore[assignment]
    bias: Tensor  # type: ignore[assignment]

    def __init__(self, like_C: Tensor) -> None:
        super().__init__(len(like_C), affine=False, track_running_stats=False)
        for name in ("weight", "bias", "running_mean", "running_var"):
            delattr(self, name)
            self.register_buffer(name, like_C.detach().clone(), persistent=False)
        self.track_running_stats = True


def _arguments(conv: nn.Conv2d) -> dict[str, Any]:
    """Those of a convolution of the same kind, with a bias and without memory."""
    names = (
        "in_channels",
        "out_channels",
        "kernel_size",
        "stride",
        "padding",
        "dilation",
        "groups",
        "padding_mode",
    )
    return {name: getattr(conv, name) for name in names} | {"device": "meta"}


def unfolded_layers(module: nn.Module) -> list[UnfoldedConv]:
    """The layers of `module` whose BN was put back."""
    return [layer for layer in module.modules() if isinstance(layer, UnfoldedConv)]


def refolded(module: nn.Module) -> nn.Module:
    """A copy of `module` without those BN layers: the network as it was given."""
    network = copy.deepcopy(module)
    for name, layer in list(network.named_modules()):
        if isinstance(layer, UnfoldedConv):
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, layer.refolded())
    return network
