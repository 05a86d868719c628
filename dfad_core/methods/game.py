"""A method made concrete for two networks: signed, weighted terms and the teacher's answers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dfad_core.methods import terms as t
from dfad_core.methods.recipe import Recipe
from dfad_core.methods.stage_watch import StageWatch
from dfad_core.sampling.batch import Batch


@dataclass
class Game:
    """Who minimises what. A positive weight is minimised by its player, a negative one maximised."""

    teacher: nn.Module
    generator_terms: list[tuple[float, t.GeneratorTerm]]
    student_terms: list[tuple[float, t.StudentTerm]]
    stages: StageWatch | None = None
    """Present if the activation regularizer plays."""

    @property
    def adapters(self) -> nn.ModuleList:
        """Trained with the student, then discarded; empty without the regularizer."""
        return nn.ModuleList() if self.stages is None else self.stages.adapters

    def ask_teacher(self, images_BCHW: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The teacher's float32 logits, with the graph if there is one, and its stage booleans."""
        if self.stages is None:
            return self.teacher(images_BCHW).float(), ()
        logits_BK, active = self.stages.ask_teacher(self.teacher, images_BCHW)
        return logits_BK.float(), active

    def teacher_logits(self, images_BCHW: Tensor) -> Tensor:
        """The teacher's float32 logits alone, without gradient."""
        with torch.no_grad():
            return self.teacher(images_BCHW).float()  # type: ignore[no-any-return]

    def ask_student(self, student: nn.Module, batch: Batch) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The student's float32 logits and its adapted stages, for the batch's images."""
        if self.stages is None or not batch.active:
            return student(batch.images_BCHW).float(), ()
        logits_BK, adapted = self.stages.ask_student(student, batch.images_BCHW)
        return logits_BK.float(), adapted


def build_game(recipe: Recipe, teacher: nn.Module, student: nn.Module, example_BCHW: Tensor) -> Game:
    """Turn a recipe into terms. Terms of weight 0 do not come into being.

    `example_BCHW` is any batch both networks accept; it shows where their stages are.
    """
    generator: list[tuple[float, t.GeneratorTerm]] = [(-1.0, t.GeneratorDiscrepancy())]
    if recipe.bn_weight:
        generator.append((recipe.bn_weight, t.BNStatistics(teacher)))
    if recipe.one_hot_weight:
        generator.append((recipe.one_hot_weight, t.OneHot()))
    if recipe.class_entropy_weight:
        generator.append((recipe.class_entropy_weight, t.ClassEntropy()))
    on_student: list[tuple[float, t.StudentTerm]] = [(1.0, t.StudentDiscrepancy())]
    stages = None
    if recipe.activation_weight:
        stages = StageWatch(teacher, student, example_BCHW)
        if len(stages) > 0:
            on_student.append((recipe.activation_weight, t.ActivationBoundary(recipe.activation_margin)))
        else:  # no activation boundaries to match
            stages = None
    if recipe.interpolation_weight:
        requeried = recipe.interpolation_labels == "requeried"
        virtual = t.VirtualInterpolation(recipe.interpolation_concentration, requeried=requeried)
        on_student.append((recipe.interpolation_weight, virtual))
    return Game(teacher, generator, on_student, stages)
