"""The two players' turns. Each phase owns a module and its optimizer; gradients reach nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from dfad_core import losses
from dfad_core.guard import FiniteGuard
from dfad_core.methods.game import Game
from dfad_core.methods.terms import GeneratorView, StudentView
from dfad_core.runtime import Runtime
from dfad_core.sampling.batch import Batch

Record = Callable[[str, Tensor], None]


@contextmanager
def training(module: nn.Module) -> Iterator[None]:
    """`requires_grad` on for the block and off after it."""
    module.requires_grad_(True)
    try:
        yield
    finally:
        module.requires_grad_(False)


def make_optimizer(kind: str, module: nn.Module, rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """Adam or SGD (Nesterov, momentum 0.9), fused: one kernel for all parameters."""
    parameters = list(module.parameters())
    if kind == "sgd":
        return torch.optim.SGD(
            parameters, rate, momentum=0.9, nesterov=True, weight_decay=weight_decay, fused=True
        )
    return torch.optim.Adam(parameters, rate, weight_decay=weight_decay, fused=True)


class Phase:
    """A module that learns, its optimizer and its peak rate."""

    name = ""

    def __init__(
        self, module: nn.Module, optimizer: torch.optim.Optimizer, runtime: Runtime, guard: FiniteGuard
    ) -> None:
        self.module = module
        self.optimizer = optimizer
        self._runtime = runtime
        self._guard = guard
        self._peak = optimizer.param_groups[0]["lr"]

    @property
    def rate(self) -> float:
        """The learning rate in force."""
        return float(self.optimizer.param_groups[0]["lr"])

    def set_rate(self, factor: float) -> None:
        """Use `factor` times the peak rate from now on."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._peak * factor

    def _update(self, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._guard.check(loss, self.optimizer, self.name)
        self.optimizer.step()


class GeneratorPhase(Phase):
    """One update of the generator against the frozen student; its batch is handed on.

    The student stays in train mode, so its BN layers normalise by this batch (in eval mode the game
    leaves the teacher's domain sooner), and so does the generator's own BN always.
    """

    name = "generator"

    def step(self, generator_input: Tensor, game: Game, student: nn.Module, record: Record) -> Batch:
        """Play the round's first move with z (B, Z); return its images with the teacher's answers."""
        with training(self.module):
            with ExitStack() as stack:
                stack.enter_context(self._runtime.autocast())
                for _, term in game.generator_terms:
                    stack.enter_context(term.listening())
                images_BCHW = self.module(generator_input)
                teacher_logits_BK, active = game.ask_teacher(images_BCHW)
                view = GeneratorView(student(images_BCHW).float(), teacher_logits_BK)
            loss = teacher_logits_BK.new_zeros(())
            for weight, term in game.generator_terms:
                gap = term.value(view)
                record(term.name, gap)
                loss = loss + weight * gap
            record("generator_loss", loss)
            self._update(loss)
        images = images_BCHW.detach().to(self._runtime.storage_dtype)
        return Batch(images, teacher_logits_BK.detach(), active)


class StudentPhase(Phase):
    """Updates of the student (and of the adapters trained with it) on batches that are given."""

    name = "student"

    def step(
        self,
        batch: Batch,
        game: Game,
        student: nn.Module,
        mixing: Callable[[int, float], losses.Mixing],
        record: Record,
    ) -> None:
        """One update on `batch`."""
        with training(self.module):
            with self._runtime.autocast():
                logits_BK, stages = game.ask_student(student, batch)
                view = StudentView(
                    batch=batch,
                    student_logits_BK=logits_BK,
                    student_stages=stages,
                    student=lambda x: student(x).float(),
                    teacher=game.teacher_logits,
                    mixing=mixing,
                )
                loss = logits_BK.new_zeros(())
                for weight, term in game.student_terms:
                    gap = term.value(view)
                    if gap is not None:
                        record(term.name, gap)
                        loss = loss + weight * gap
            record("student_loss", loss)
            self._update(loss)
