"""A convolution with BN that can be folded again: what `unfolding` puts in the place of a folded one."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class UnfoldedConv(nn.Conv2d):
    """The function of a convolution with a bias, as a convolution without one and BN.

    Any mean and variance may be set: scale and shift of the BN follow, so that the function stays.
    """

    def __init__(self, conv: nn.Module) -> None:
        assert isinstance(conv, nn.Conv2d)
        assert conv.bias is not None
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            conv.stride,  # type: ignore[arg-type]
            conv.padding,  # type: ignore[arg-type]
            conv.dilation,  # type: ignore[arg-type]
            conv.groups,
            bias=False,
            padding_mode=conv.padding_mode,
            device="meta",
        )
        self.weight = conv.weight
        self.norm = nn.BatchNorm2d(conv.out_channels).to(conv.weight.device)
        self.folded_bias: Tensor
        self.register_buffer("folded_bias", conv.bias.detach().clone())

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        normalised: Tensor = self.norm(super().forward(images_BCHW))
        return normalised

    @torch.no_grad()
    def set_statistics(self, mean_C: Tensor, var_C: Tensor) -> None:
        """Set the BN's statistics such that the layer's outputs have this mean and variance (C,) by them."""
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(mean_C - self.folded_bias)
        norm.running_var.copy_(var_C)
        norm.weight.copy_((norm.running_var + norm.eps).sqrt())
        norm.bias.copy_(mean_C)

    @property
    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and variance (C,) that were set, copied."""
        assert self.norm.running_var is not None
        return self.norm.bias.detach().clone(), self.norm.running_var.clone()

    def refolded(self) -> nn.Conv2d:
        """One convolution with a bias again, which shares its kernel with this one."""
        conv = nn.Conv2d(
            self.in_channels,
            self.out_channels,
            self.kernel_size,  # type: ignore[arg-type]
            self.stride,  # type: ignore[arg-type]
            self.padding,  # type: ignore[arg-type]
            self.dilation,  # type: ignore[arg-type]
            self.groups,
            padding_mode=self.padding_mode,
            device="meta",
        )
        conv.weight = self.weight
        conv.bias = nn.Parameter(self.folded_bias.clone(), requires_grad=False)
        return conv


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
