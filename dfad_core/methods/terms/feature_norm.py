"""Activation term: rewards images with large values in the teacher's last features (DAFL)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Self

from torch import Tensor, nn

from dfad_core.contract.recipe import Recipe
from dfad_core.losses.feature_norm import feature_norm
from dfad_core.methods.terms.base import GeneratorTerm, GeneratorView
from dfad_core.methods.terms.layer_inputs import LayerInputs
from dfad_core.networks.last_layer import last_linear


class FeatureNorm(GeneratorTerm):
    """The size of the features that enter the teacher's classifier; the generator maximises it."""

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

    def recording(self) -> AbstractContextManager[None]:
        """Record the labelling pass."""
        return self._inputs.recording()

    def value(self, view: GeneratorView) -> Tensor:
        """`losses.feature_norm` of the labelling pass."""
        (features_BF,) = self._inputs.take()[-1]
        return feature_norm(features_BF)
