"""Activation term: rewards images that excite the teacher's last features (DAFL)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Self

import torch
from torch import Tensor, nn

from dfad_core.contract.recipe import Recipe
from dfad_core.losses.feature_norm import feature_norm
from dfad_core.methods.terms.base import GeneratorTerm, GeneratorView
from dfad_core.methods.terms.layer_inputs import LayerInputs


class FeatureNorm(GeneratorTerm):
    """Reads what enters the teacher's classifier while the batch is labelled; the generator maximises it."""

    name = "feature_norm"
    weight_field = "feature_norm_weight"
    sign = -1

    def __init__(self, teacher: nn.Module, example_BCHW: Tensor) -> None:
        classifier = last_linear(teacher, example_BCHW)
        self._inputs = LayerInputs(teacher, [classifier], lambda _layer, features: (features.flatten(1),))

    @classmethod
    def build(cls, _recipe: Recipe, teacher: nn.Module, example_BCHW: Tensor, /) -> Self:
        """For the teacher's classifier."""
        return cls(teacher, example_BCHW)

    def listening(self) -> AbstractContextManager[None]:
        """Record the labelling pass."""
        return self._inputs.listening()

    def value(self, view: GeneratorView) -> Tensor:
        """`losses.feature_norm` of the labelling pass."""
        (features_BF,) = self._inputs.take()[-1]
        return feature_norm(features_BF)


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
    return called[-1] if called else module
