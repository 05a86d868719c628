"""The objective of a method for two networks: signed, weighted terms, and how the networks are called."""

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
    """The two losses: each player minimises the sum of weight times gap; a negative weight maximises."""

    teacher: nn.Module
    generator_terms: list[tuple[float, GeneratorTerm]]
    student_terms: list[tuple[float, StudentTerm]]
    stages: StageRecorder | None = None
    """Present if a term reads matched stages: the activation regularizer or attention transfer."""
    batch_statistics: bool = False
    """Whether the teacher's BN layers normalise by the batch."""
    labeller: nn.Module | None = None
    """A faster copy of the teacher for passes that need logits alone, without a graph; None: the teacher."""

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
    def asks_student(self) -> bool:
        """Whether the generator's terms need the student's logits."""
        return any(term.asks_student for _, term in self.generator_terms)

    def ask_teacher(self, images_BCHW: Tensor, *, marks: bool = True) -> tuple[Tensor, StageRecord]:
        """The teacher's float32 logits (B, K), with a graph if there is one, and the record of its stages."""
        statistics = normalising_by_batch(self.teacher) if self.batch_statistics else nullcontext()
        with statistics:
            if self.stages is None or not marks:
                network = self.teacher
                if self.labeller is not None and not (torch.is_grad_enabled() or self.batch_statistics):
                    network = self.labeller
                return network(images_BCHW).float(), StageRecord()
            logits_BK, stages = self.stages.ask_teacher(self.teacher, images_BCHW)
        return logits_BK.float(), stages

    def teacher_logits(self, images_BCHW: Tensor) -> Tensor:
        """The teacher's float32 logits alone, without gradient."""
        with torch.no_grad():
            return self.ask_teacher(images_BCHW, marks=False)[0]

    def ask_student(self, student: nn.Module, batch: Batch) -> tuple[Tensor, StageRecord]:
        """The student's float32 logits (B, K) for the batch's images, and the record of its stages."""
        if self.stages is None or not (batch.active or batch.attention):
            return student(batch.images_BCHW).float(), StageRecord()
        logits_BK, stages = self.stages.ask_student(student, batch.images_BCHW)
        return logits_BK.float(), stages

    def with_stages(self, batch: Batch) -> Batch:
        """`batch` with the stages that the student's terms read; the teacher is called if it has none."""
        if self.stages is None or batch.active or batch.attention:
            return batch
        with torch.no_grad():
            _, record = self.ask_teacher(batch.images_BCHW)
        return Batch(batch.images_BCHW, batch.teacher_logits_BK, record.stages, record.attention)


def build_objective(
    recipe: Recipe, teacher: nn.Module, student: nn.Module, example_BCHW: Tensor
) -> Objective:
    """Turn a recipe into terms; those of weight 0 are not built.

    `example_BCHW` is any batch both networks accept; it shows where their stages are.
    """
    has_bn = bool(bn_layers(teacher))
    generator_terms = [
        (kind.sign * weight, kind.build(recipe, teacher, example_BCHW))
        for kind in GENERATOR_TERMS
        if (weight := getattr(recipe, kind.weight_field)) and (has_bn or not kind.needs_bn)
    ]
    weighed = [(getattr(recipe, kind.weight_field), kind) for kind in STUDENT_TERMS]
    weighed = [(weight, kind) for weight, kind in weighed if weight]
    boundaries = any(kind.needs_boundaries for _, kind in weighed)
    attention = any(kind.needs_attention for _, kind in weighed)
    stages = None
    if boundaries or attention:
        stages = StageRecorder(teacher, student, example_BCHW, boundaries=boundaries, attention=attention)
    if stages is None or len(stages) == 0:  # the two networks have no stages in common
        stages = None
        weighed = [(w, kind) for w, kind in weighed if not (kind.needs_boundaries or kind.needs_attention)]
    return Objective(
        teacher,
        generator_terms,
        [(weight, kind.build(recipe, teacher, example_BCHW)) for weight, kind in weighed],
        stages,
        recipe.teacher_batch_statistics,
    )
