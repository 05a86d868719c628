"""BN term: keeps the statistics of a batch close to those of the teacher's training data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Self

from torch import Tensor, nn

from dfad_core.contract.recipe import Recipe
from dfad_core.losses.bn_statistics import bn_divergence, bn_statistics
from dfad_core.methods.terms.base import GeneratorTerm, GeneratorView
from dfad_core.methods.terms.batch_moments import batch_moments
from dfad_core.methods.terms.layer_inputs import LayerInputs
from dfad_core.networks.batch_norm import bn_layers

Distance = Callable[[Sequence[tuple[Tensor, Tensor, Tensor, Tensor]]], Tensor]

DISTANCES: dict[str, Distance] = {"norms": bn_statistics, "divergence": bn_divergence}
"""Name in a recipe -> the loss."""


class BNStatistics(GeneratorTerm):
    """The gap of batch statistics from running statistics, at the inputs of the teacher's BN layers."""

    name = "bn_statistics"
    weight_field = "bn_weight"
    needs_bn = True

    def __init__(self, teacher: nn.Module, distance: Distance = bn_statistics) -> None:
        self._distance = distance
        self._inputs = LayerInputs(teacher, bn_layers(teacher), _statistics)

    @classmethod
    def build(cls, recipe: Recipe, teacher: nn.Module, _example_BCHW: Tensor, /) -> Self:
        """For the teacher's BN layers, with the recipe's distance."""
        return cls(teacher, DISTANCES[recipe.bn_distance])

    def recording(self) -> AbstractContextManager[None]:
        """Record the labelling pass."""
        return self._inputs.recording()

    def value(self, view: GeneratorView) -> Tensor:
        """The distance of the labelling pass."""
        return self._distance([(m, v, rm, rv) for m, v, rm, rv in self._inputs.take()])


def _statistics(layer: nn.Module, features: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The batch's mean and variance for each channel, and the layer's running ones: four (C,) tensors."""
    mean_C, var_C = batch_moments(features)
    running_mean_C, running_var_C = layer.running_mean, layer.running_var
    assert isinstance(running_mean_C, Tensor)
    assert isinstance(running_var_C, Tensor)
    return mean_C, var_C, running_mean_C, running_var_C
