"""Contrastive term: rewards images that differ from each other in the teacher's BN features (CMI)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Self

import torch
from torch import Tensor, nn

from dfad_core.contract.recipe import Recipe
from dfad_core.data.augmentation import random_resized_crop
from dfad_core.losses.contrast import contrast
from dfad_core.methods.terms.base import GeneratorTerm, GeneratorView
from dfad_core.methods.terms.layer_inputs import LayerInputs
from dfad_core.networks.batch_norm import bn_layers


class Contrast(GeneratorTerm):
    """Compares a random part of each image with all whole images, in one more pass of the teacher."""

    name = "contrast"
    weight_field = "contrast_weight"
    needs_bn = True

    def __init__(self, teacher: nn.Module) -> None:
        self._teacher = teacher
        layers = bn_layers(teacher)
        self._whole, self._local = (LayerInputs(teacher, layers, _channel_means) for _ in range(2))

    @classmethod
    def build(cls, _recipe: Recipe, teacher: nn.Module, _example_BCHW: Tensor, /) -> Self:
        """For the teacher's BN layers."""
        return cls(teacher)

    def recording(self) -> AbstractContextManager[None]:
        """Record the labelling pass."""
        return self._whole.recording()

    def value(self, view: GeneratorView) -> Tensor:
        """`losses.contrast` of a pass over random parts; the labelling pass is the constant second view."""
        assert view.images_BCHW is not None
        with self._local.recording():
            self._teacher(random_resized_crop(view.images_BCHW))
        return contrast(_features(self._local), _features(self._whole).detach())


def _channel_means(_layer: nn.Module, features: Tensor) -> tuple[Tensor]:
    """(B, C, ...) -> (B, C)."""
    features = features.float()
    return (features.mean(dim=list(range(2, features.dim()))) if features.dim() > 2 else features,)


def _features(inputs: LayerInputs) -> Tensor:
    """Channel means of all BN layers side by side: (B, sum of channels)."""
    return torch.cat([means_BC for (means_BC,) in inputs.take()], dim=1)
