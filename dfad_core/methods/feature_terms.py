"""Terms on the generator that look at its images, or at features inside the teacher."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dfad_core import losses
from dfad_core.methods.terms import GeneratorTerm, GeneratorView
from dfad_core.networks.batch_norm import bn_layers


class TotalVariation(GeneratorTerm):
    """The wish for smooth images."""

    name = "total_variation"

    def value(self, view: GeneratorView) -> Tensor:
        """`losses.total_variation` of the images."""
        assert view.images_BCHW is not None
        return losses.total_variation(view.images_BCHW)


class FeatureNorm(GeneratorTerm):
    """How strongly the teacher's last linear layer is fed."""

    name = "feature_norm"

    def __init__(self, teacher: nn.Module, example_BCHW: Tensor) -> None:
        self._layer = last_linear(teacher, example_BCHW)
        self._features_BF: Tensor | None = None

    def _record(self, _layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._features_BF = inputs[0].flatten(1)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Record for the time of the block."""
        handle = self._layer.register_forward_pre_hook(self._record)
        try:
            yield
        finally:
            handle.remove()

    def value(self, view: GeneratorView) -> Tensor:
        """`losses.feature_norm` of what was recorded last."""
        assert self._features_BF is not None
        gap = losses.feature_norm(self._features_BF)
        self._features_BF = None  # it holds the graph
        return gap


class Contrast(GeneratorTerm):
    """The wish that every image can be told from the others by the teacher's BN layers."""

    name = "contrast"
    teacher_passes = 2

    def __init__(self, teacher: nn.Module) -> None:
        self._teacher = teacher
        self._layers = bn_layers(teacher)

    def value(self, view: GeneratorView) -> Tensor:
        """`losses.contrast` between the images and their mirrored, shifted twins."""
        images = view.images_BCHW
        assert images is not None
        twins = images.flip(-1).roll(1, dims=-2)
        return losses.contrast(self._means(images), self._means(twins))

    def _means(self, images_BCHW: Tensor) -> Tensor:
        """Channel means of what enters each BN layer, side by side: (B, sum of channels)."""
        seen: list[Tensor] = []

        def record(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            features = inputs[0].float()
            seen.append(features.mean(dim=list(range(2, features.dim()))) if features.dim() > 2 else features)

        handles = [layer.register_forward_pre_hook(record) for layer in self._layers]
        try:
            self._teacher(images_BCHW)
        finally:
            for handle in handles:
                handle.remove()
        return torch.cat(seen, dim=1)


def last_linear(module: nn.Module, example_BCHW: Tensor) -> nn.Module:
    """The linear layer that is called last, or the last convolution if there is none: the classifier."""
    called: list[nn.Module] = []

    def note(layer: nn.Module) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _layer, _inputs: called.append(layer)

    linear: list[nn.Module] = [m for m in module.modules() if isinstance(m, nn.Linear)]
    layers = linear or [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    handles = [layer.register_forward_pre_hook(note(layer)) for layer in layers]
    try:
        with torch.no_grad():
            module(example_BCHW)
    finally:
        for handle in handles:
            handle.remove()
    if not called:
        return module
    return called[-1]
