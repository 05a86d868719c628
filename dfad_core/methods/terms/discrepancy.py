"""The adversarial term: the generator maximises the gap between the two networks' logits."""

from __future__ import annotations

from typing import Self

from torch import Tensor, nn

from dfad_core.contract.recipe import Recipe
from dfad_core.losses.discrepancy import discrepancy
from dfad_core.methods.gaps import Gap, gap_named
from dfad_core.methods.terms.base import GeneratorTerm, GeneratorView


class GeneratorDiscrepancy(GeneratorTerm):
    """The gap that the recipe names in `adversarial`."""

    name = "discrepancy"
    weight_field = "adversarial_weight"
    sign = -1
    needs_student = True

    def __init__(self, gap: Gap = discrepancy) -> None:
        self._gap = gap

    @classmethod
    def build(cls, recipe: Recipe, _teacher: nn.Module, _example_BCHW: Tensor, /) -> Self:
        """With the recipe's adversarial gap."""
        return cls(gap_named(recipe.adversarial))

    def value(self, view: GeneratorView) -> Tensor:
        """The gap between the two networks' logits."""
        assert view.student_logits_BK is not None
        return self._gap(view.student_logits_BK, view.teacher_logits_BK)
