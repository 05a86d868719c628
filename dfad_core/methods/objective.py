"""The objective of a method for two networks: their terms with weights and signs, and how they are called."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dfad_core.contract.recipe import Recipe
from dfad_core.data.batch import Batch
from dfad_core.methods.stage_recorder import StageRecord, StageRecorder
from dfad_core.methods.terms import GENERATOR_TERMS, STUDENT_TERMS, GeneratorTerm, StudentTerm
from dfad_core.networks.batch_norm import bn_layers, normalising_by_batch


@dataclass
class Objective:
    """The losses of generator and student: sums of weight times gap. A negative weight maximises the gap."""

    teacher: nn.Module
    generator_terms: list[tuple[float, GeneratorTerm]]
    student_terms: list[tuple[float, StudentTerm]]
    stages: StageRecorder | None = None
    """Present if a term reads matched stages: the activation regularizer or attention transfer."""
    batch_statistics: bool = False
    """Whether the teacher's BN layers normalise by the batch."""
    labeller: nn.Module | None = None
    """A faster copy of the teacher for passes that need logits alone, without a graph; None: the teacher."""
    activation_factor: float = 1.0
    """Factor of the activation regularizer's weight, which falls to 0 where it decays."""
    without_student: bool = False
    """Whether terms that need the student are left out of the generator's loss, in its warm-up."""

    @property
    def adapters(self) -> nn.ModuleList:
        """Trained with the student, then discarded; empty without the regularizer."""
        return nn.ModuleList() if self.stages is None else self.stages.adapters

    @property
    def mixing_concentration(self) -> float | None:
        """a of the interpolation's Beta(a, a); None where there is no interpolation."""
        concentrations = (term.concentration for _, term in self.student_terms)
        return next((a for a in concentrations if a is not None), None)

    @property
    def reads_stages(self) -> bool:
        """Whether a term of the student still reads stages."""
        return self.activation_factor > 0 or any(t.needs_attention for _, t in self.student_terms)

    @property
    def current_terms(self) -> list[tuple[float, GeneratorTerm]]:
        """The generator's terms that count at present."""
        return [
            (weight, term)
            for weight, term in self.generator_terms
            if not (term.needs_student and self.without_student)
        ]

    @property
    def needs_student(self) -> bool:
        """Whether the generator's terms need the student's logits at present."""
        return any(term.needs_student for _, term in self.current_terms)

    def ask_teacher(
        self, images_BCHW: Tensor, *, with_stages: bool = True, whole: bool = False
    ) -> tuple[Tensor, StageRecord]:
        """The teacher's float32 logits (B, K), with a graph if there is one, and the record of its stages.

        `whole`: by the teacher itself, whose layers somebody records, in place of its faster copy.
        """
        statistics = normalising_by_batch(self.teacher) if self.batch_statistics else nullcontext()
        with statistics:
            if self.stages is None or not (with_stages and self.reads_stages):
                network = self.teacher
                if self.labeller is not None and not (
                    whole or torch.is_grad_enabled() or self.batch_statistics
                ):
                    network = self.labeller
                return network(images_BCHW).float(), StageRecord()
            logits_BK, stages = self.stages.ask_teacher(self.teacher, images_BCHW)
        return logits_BK.float(), stages

    def teacher_logits(self, images_BCHW: Tensor) -> Tensor:
        """The teacher's float32 logits alone, without gradient."""
        with torch.no_grad():
            return self.ask_teacher(images_BCHW, with_stages=False)[0]

    def ask_student(self, student: nn.Module, batch: Batch) -> tuple[Tensor, StageRecord]:
        """The student's float32 logits (B, K) for the batch's images, and the record of its stages.

        The record is empty where the batch has none of the teacher's stages to compare it with.
        """
        if self.stages is None or not (batch.active or batch.attention):
            return student(batch.images_BCHW).float(), StageRecord()
        logits_BK, stages = self.stages.ask_student(student, batch.images_BCHW)
        return logits_BK.float(), stages

    def with_stages(self, batch: Batch) -> Batch:
        """`batch` with the teacher's stages that the student's terms read, from a new pass if it has none."""
        if self.stages is None or not self.reads_stages or batch.active or batch.attention:
            return batch
        with torch.no_grad():
            _, record = self.ask_teacher(batch.images_BCHW)
        return Batch(batch.images_BCHW, batch.teacher_logits_BK, record.stages, record.attention)


def build_objective(
    recipe: Recipe, teacher: nn.Module, student: nn.Module, example_BCHW: Tensor
) -> Objective:
    """Build the terms of a recipe whose weight is not 0.

    `example_BCHW` is any batch that both networks accept; their stages are looked up with it.
    """
    has_bn = bool(bn_layers(teacher))
    generator_terms = [
        (kind.sign * weight, kind.build(recipe, teacher, example_BCHW))
        for kind in GENERATOR_TERMS
        if (weight := getattr(recipe, kind.weight_field)) and (has_bn or not kind.needs_bn)
    ]
    kinds = [kind for kind in STUDENT_TERMS if getattr(recipe, kind.weight_field)]
    boundaries = any(kind.needs_boundaries for kind in kinds)
    attention = any(kind.needs_attention for kind in kinds)
    stages = None
    if boundaries or attention:
        stages = StageRecorder(teacher, student, example_BCHW, boundaries=boundaries, attention=attention)
    if stages is None or len(stages) == 0:  # the two networks have no stages in common
        stages = None
        kinds = [kind for kind in kinds if not (kind.needs_boundaries or kind.needs_attention)]
    student_terms: list[tuple[float, StudentTerm]] = [
        (getattr(recipe, kind.weight_field), kind.build(recipe, teacher, example_BCHW)) for kind in kinds
    ]
    return Objective(teacher, generator_terms, student_terms, stages, recipe.teacher_batch_statistics)
