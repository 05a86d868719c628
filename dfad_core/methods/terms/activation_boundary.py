"""The activation regularizer on the student's matched stages."""

from __future__ import annotations

from typing import Self

from torch import Tensor, nn

from dfad_core.contract.recipe import Recipe
from dfad_core.losses.activation_boundary import activation_boundary
from dfad_core.methods.terms.base import StudentTerm, StudentView


class ActivationBoundary(StudentTerm):
    """The gap of the student's adapted pre-activations from the signs of the teacher's."""

    name = "activation_boundary"
    weight_field = "activation_weight"
    needs_boundaries = True

    def __init__(self, margin: float) -> None:
        self._margin = margin

    @classmethod
    def build(cls, recipe: Recipe, _teacher: nn.Module, _example_BCHW: Tensor, /) -> Self:
        """With the recipe's margin."""
        return cls(recipe.activation_margin)

    def value(self, view: StudentView) -> Tensor | None:
        """`losses.activation_boundary`; None where no stage was matched."""
        if not view.batch.active:
            return None
        return activation_boundary(view.student_stages, view.batch.active, self._margin)
