"""The generator's loss: the gap that it maximises, and the terms that keep its images close to the data.

Shapes: z_BZ noise, images_BCHW in the teacher's normalised space, logits_BK.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from dfad_core.data.batch import Batch
from dfad_core.methods.objective import Objective
from dfad_core.methods.stage_recorder import StageRecord
from dfad_core.methods.terms import GeneratorView
from dfad_core.training.optimizers import Phase
from dfad_core.training.runtime import Runtime

Record = Callable[[str, Tensor], None]


class GeneratorPhase(Phase):
    """The generator's part of a round: its loss against the frozen student.

    The student stays in train mode, so that its BN layers normalise by this batch, as the generator's always
    do. In eval mode the images would leave the teacher's domain sooner.
    """

    name = "generator"

    def __init__(self, module: nn.Module, optimizer: torch.optim.Optimizer, runtime: Runtime) -> None:
        super().__init__(module, optimizer)
        self._runtime = runtime

    def loss(
        self, z_BZ: Tensor, objective: Objective, student: nn.Module, record: Record
    ) -> tuple[Tensor, Batch]:
        """The loss with its graph, and the images with the teacher's logits without one."""
        with self._runtime.autocast(), recording(objective):
            images_BCHW = self.module(z_BZ)
            loss, logits_BK, stages = generator_loss(images_BCHW, objective, student, record)
        images = images_BCHW.detach().to(self._runtime.storage_dtype)
        return loss, Batch(images, logits_BK.detach(), stages.stages, stages.attention)


def generator_loss(
    images_BCHW: Tensor,
    objective: Objective,
    student: nn.Module,
    record: Record,
    classes_B: Tensor | None = None,
) -> tuple[Tensor, Tensor, StageRecord]:
    """The weighted sum of the generator's terms on `images_BCHW`, with the teacher's logits and stages.

    Call it within an autocast and within `recording(objective)`. `classes_B`: the requested class of each
    image, where the method has them.
    """
    logits_BK, stages = objective.ask_teacher(images_BCHW)
    student_BK = student(images_BCHW).float() if objective.needs_student else None
    view = GeneratorView(student_BK, logits_BK, images_BCHW, classes_B)
    loss = logits_BK.new_zeros(())
    for weight, term in objective.current_terms:
        gap = term.value(view)
        record(term.name, gap)
        loss = loss + weight * gap
    record("generator_loss", loss)
    return loss, logits_BK, stages


@contextmanager
def recording(objective: Objective) -> Iterator[None]:
    """Let the generator's terms record the teacher's layers during the block."""
    with ExitStack() as stack:
        for _, term in objective.generator_terms:
            stack.enter_context(term.recording())
        yield
