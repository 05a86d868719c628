"""A method made concrete for two networks: signed, weighted terms and the teacher's answers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dfad_core import losses
from dfad_core.data.batch import Batch
from dfad_core.methods import feature_terms as f
from dfad_core.methods import terms as t
from dfad_core.methods.recipe import Recipe
from dfad_core.methods.stage_recorder import StageRecord, StageRecorder
from dfad_core.networks.batch_norm import normalising_by_batch

Gap = Callable[[Tensor, Tensor], Tensor]

GAPS: dict[str, Gap] = {
    "l1": losses.discrepancy,
    "squared": losses.squared_error,
    "kl": losses.divergence,
    "agreed": losses.agreed_divergence,
    "jensen_shannon": losses.jensen_shannon,
}


@dataclass
class Objective:
    """Who minimises what. A positive weight is minimised by its player, a negative one maximised."""

    teacher: nn.Module
    generator_terms: list[tuple[float, t.GeneratorTerm]]
    student_terms: list[tuple[float, t.StudentTerm]]
    stages: StageRecorder | None = None
    """Present if the activation regularizer or attention transfer plays."""
    batch_statistics: bool = False
    """Whether the teacher's BN layers normalise by the batch."""
    labeller: nn.Module | None = None
    """Answers as the teacher does and faster, where its logits alone are wanted, without a graph; None: the
    teacher itself."""

    @property
    def adapters(self) -> nn.ModuleList:
        """Trained with the student, then discarded; empty without the regularizer."""
        return nn.ModuleList() if self.stages is None else self.stages.adapters

    @property
    def mixing_concentration(self) -> float | None:
        """a of the interpolation's Beta(a, a); None where there is no interpolation."""
        for _, term in self.student_terms:
            if isinstance(term, t.VirtualInterpolation):
                return term.concentration
        return None

    @property
    def asks_student(self) -> bool:
        """Whether the generator's terms need the student's answer."""
        return any(term.asks_student for _, term in self.generator_terms)

    def ask_teacher(self, images_BCHW: Tensor, *, marks: bool = True) -> tuple[Tensor, StageRecord]:
        """The teacher's float32 logits, with the graph if there is one, and what its stages showed."""
        statistics = normalising_by_batch(self.teacher) if self.batch_statistics else nullcontext()
        with statistics:
            if self.stages is None or not marks:
                alone = self.labeller is not None and not (torch.is_grad_enabled() or self.batch_statistics)
                asked = self.labeller if alone else self.teacher
                assert asked is not None
                return asked(images_BCHW).float(), StageRecord()
            logits_BK, seen = self.stages.ask_teacher(self.teacher, images_BCHW)
        return logits_BK.float(), seen

    def teacher_logits(self, images_BCHW: Tensor) -> Tensor:
        """The teacher's float32 logits alone, without gradient."""
        with torch.no_grad():
            return self.ask_teacher(images_BCHW, marks=False)[0]

    def ask_student(self, student: nn.Module, batch: Batch) -> tuple[Tensor, StageRecord]:
        """The student's float32 logits and what its stages show, for the batch's images."""
        if self.stages is None or not (batch.active or batch.attention):
            return student(batch.images_BCHW).float(), StageRecord()
        logits_BK, seen = self.stages.ask_student(student, batch.images_BCHW)
        return logits_BK.float(), seen

    @property
    def generator_passes(self) -> int:
        """Teacher passes for each image of a generator's step; one of them labels the image."""
        return 1 + sum(term.teacher_passes for _, term in self.generator_terms)

    def student_passes(self, batch: Batch) -> int:
        """Teacher passes for each image of a student's step on `batch`."""
        return sum(term.teacher_passes for _, term in self.student_terms) + self._lacks_stages(batch)

    def with_stages(self, batch: Batch) -> Batch:
        """`batch` with the stages that the student's terms compare; the teacher is asked if it has none."""
        if not self._lacks_stages(batch):
            return batch
        with torch.no_grad():
            _, seen = self.ask_teacher(batch.images_BCHW)
        return Batch(batch.images_BCHW, batch.teacher_logits_BK, seen.stages, seen.attention)

    def _lacks_stages(self, batch: Batch) -> bool:
        return self.stages is not None and not (batch.active or batch.attention)


def build_objective(
    recipe: Recipe, teacher: nn.Module, student: nn.Module, example_BCHW: Tensor
) -> Objective:
    """Turn a recipe into terms. Terms of weight 0 do not come into being.

    `example_BCHW` is any batch both networks accept; it shows where their stages are.
    """
    stages = None
    if recipe.activation_weight or recipe.attention_weight:
        boundaries, attention = bool(recipe.activation_weight), bool(recipe.attention_weight)
        stages = StageRecorder(teacher, student, example_BCHW, boundaries=boundaries, attention=attention)
        if len(stages) == 0:  # nothing to match
            stages = None
    return Objective(
        teacher,
        _generator_terms(recipe, teacher, example_BCHW),
        _student_terms(recipe, stages is not None),
        stages,
        recipe.teacher_batch_statistics,
    )


def _generator_terms(
    recipe: Recipe, teacher: nn.Module, example_BCHW: Tensor
) -> list[tuple[float, t.GeneratorTerm]]:
    weighted: list[tuple[float, Callable[[], t.GeneratorTerm]]] = [
        (-recipe.adversarial_weight, lambda: t.GeneratorDiscrepancy(GAPS[recipe.adversarial])),
        (recipe.bn_weight, lambda: t.BNStatistics(teacher)),
        (recipe.one_hot_weight, t.OneHot),
        (recipe.class_entropy_weight, t.ClassEntropy),
        (recipe.feature_norm_weight, lambda: f.FeatureNorm(teacher, example_BCHW)),
        (recipe.total_variation_weight, f.TotalVariation),
        (recipe.contrast_weight, lambda: f.Contrast(teacher)),
    ]
    return [(weight, make()) for weight, make in weighted if weight]


def _student_terms(recipe: Recipe, has_stages: bool) -> list[tuple[float, t.StudentTerm]]:
    gap = GAPS[recipe.imitation]
    if recipe.imitation == "kl":
        gap = functools.partial(losses.divergence, temperature=recipe.temperature)
    terms: list[tuple[float, t.StudentTerm]] = [(1.0, t.StudentDiscrepancy(gap))]
    if recipe.activation_weight and has_stages:
        terms.append((recipe.activation_weight, t.ActivationBoundary(recipe.activation_margin)))
    if recipe.attention_weight and has_stages:
        terms.append((recipe.attention_weight, t.AttentionTransfer()))
    if recipe.interpolation_weight:
        virtual = t.VirtualInterpolation(
            recipe.interpolation_concentration,
            requeried=recipe.interpolation_labels == "requeried",
            gap=gap,
        )
        terms.append((recipe.interpolation_weight, virtual))
    return terms
