"""Smoothness term: penalises differences between neighbouring pixels."""

from torch import Tensor

from dfad_core.losses.total_variation import total_variation
from dfad_core.methods.terms.base import GeneratorTerm, GeneratorView


class TotalVariation(GeneratorTerm):
    """Total variation of the images."""

    name = "total_variation"
    weight_field = "total_variation_weight"

    def value(self, view: GeneratorView) -> Tensor:
        """`losses.total_variation` of the images."""
        assert view.images_BCHW is not None
        return total_variation(view.images_BCHW)
