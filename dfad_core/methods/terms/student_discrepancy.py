"""The student's main term: the gap of its logits from the teacher's."""

from __future__ import annotations

from typing import Self

from torch import Tensor, nn

from dfad_core.contract.recipe import Recipe
from dfad_core.losses.discrepancy import discrepancy
from dfad_core.methods.gaps import Gap, gap_named
from dfad_core.methods.terms.base import StudentTerm, StudentView


class StudentDiscrepancy(StudentTerm):
    """The gap that the recipe names in `imitation`."""

    name = "student_discrepancy"
    weight_field = "imitation_weight"

    def __init__(self, gap: Gap = discrepancy) -> None:
        self._gap = gap

    @classmethod
    def build(cls, recipe: Recipe, _teacher: nn.Module, _example_BCHW: Tensor, /) -> Self:
        """With the recipe's imitation gap and temperature."""
        return cls(gap_named(recipe.imitation, recipe.temperature))

    def value(self, view: StudentView) -> Tensor:
        """The gap between the two networks' logits on the batch."""
        return self._gap(view.student_logits_BK, view.batch.teacher_logits_BK)
