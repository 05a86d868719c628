"""The student's loss: its gap from the teacher on a labelled batch.

Shapes: images_BCHW in the teacher's normalised space, logits_BK.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dfad_core.data.batch import Batch
from dfad_core.losses.virtual_interpolation import Mixing
from dfad_core.methods.objective import Objective
from dfad_core.methods.terms import StudentView
from dfad_core.training.optimizers import Phase
from dfad_core.training.runtime import Runtime

Record = Callable[[str, Tensor], None]


class StudentPhase(Phase):
    """The student's part of a round. `module` is the student with the adapters that train along."""

    name = "student"

    def __init__(self, module: nn.Module, optimizer: torch.optim.Optimizer, runtime: Runtime) -> None:
        super().__init__(module, optimizer)
        self._runtime = runtime

    def loss(
        self, batch: Batch, objective: Objective, student: nn.Module, mixing: Mixing | None, record: Record
    ) -> Tensor:
        """The weighted sum of the student's terms on `batch`.

        `mixing` holds the partners and shares of virtual interpolation, for as many images as the batch has.
        Where a term compares stages of both networks and the batch comes from the pool, the teacher runs
        again: stages take several times the memory of the images, so the pool does not keep them.
        """

        def student_logits(images_BCHW: Tensor) -> Tensor:
            logits_BK: Tensor = student(images_BCHW)
            return logits_BK.float()

        with self._runtime.autocast():
            batch = objective.with_stages(batch)
            logits_BK, stages = objective.ask_student(student, batch)
            view = StudentView(
                batch=batch,
                student_logits_BK=logits_BK,
                student_stages=stages.stages,
                student_attention=stages.attention,
                student=student_logits,
                teacher=objective.teacher_logits,
                mixing=mixing,
            )
            loss = logits_BK.new_zeros(())
            for weight, term in objective.student_terms:
                gap = term.value(view)
                if gap is not None:
                    record(term.name, gap)
                    factor = objective.activation_factor if term.needs_boundaries else 1.0
                    loss = loss + weight * factor * gap
        record("student_loss", loss)
        return loss
