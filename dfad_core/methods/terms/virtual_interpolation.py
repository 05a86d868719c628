"""Virtual interpolation: the student also learns from mixtures of the batch's images."""

from __future__ import annotations

from typing import Self

from torch import Tensor, nn

from dfad_core.contract.recipe import Recipe
from dfad_core.losses.discrepancy import discrepancy
from dfad_core.losses.virtual_interpolation import mix, virtual_interpolation
from dfad_core.methods.gaps import Gap, gap_named
from dfad_core.methods.terms.base import StudentTerm, StudentView


class VirtualInterpolation(StudentTerm):
    """The gap on mixtures, labelled by mixed logits of the teacher or, if `requeried`, by a new pass."""

    name = "virtual_interpolation"
    weight_field = "interpolation_weight"

    def __init__(self, concentration: float, *, requeried: bool, gap: Gap = discrepancy) -> None:
        self.concentration = concentration
        self._requeried, self._gap = requeried, gap

    @classmethod
    def build(cls, recipe: Recipe, _teacher: nn.Module, _example_BCHW: Tensor, /) -> Self:
        """With the recipe's concentration, kind of labels and imitation gap."""
        return cls(
            recipe.interpolation_concentration,
            requeried=recipe.interpolation_labels == "requeried",
            gap=gap_named(recipe.imitation, recipe.temperature),
        )

    def value(self, view: StudentView) -> Tensor:
        """`losses.virtual_interpolation` on the mixtures that the view's `mixing` describes."""
        mixing = view.mixing
        assert mixing is not None
        mixed_BCHW = mix(view.batch.images_BCHW, mixing)
        labels_BK = view.teacher(mixed_BCHW) if self._requeried else mix(view.batch.teacher_logits_BK, mixing)
        return virtual_interpolation(view.student(mixed_BCHW), labels_BK, self._gap)
