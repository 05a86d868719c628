"""The two players' turns. Each phase owns a module and its optimizer; gradients reach nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dfad_core import losses
from dfad_core.data.batch import Batch, joined
from dfad_core.methods.objective import Objective
from dfad_core.methods.stage_recorder import StageRecord
from dfad_core.methods.terms import GeneratorView, StudentView
from dfad_core.profiling import region
from dfad_core.training.cuda_graphs import Replay, Tensors
from dfad_core.training.distributed import current_group
from dfad_core.training.finite_guard import FiniteGuard
from dfad_core.training.runtime import Runtime

Record = Callable[[str, Tensor], None]


@contextmanager
def training(module: nn.Module) -> Iterator[None]:
    """`requires_grad` on for the block and off after it."""
    module.requires_grad_(True)
    try:
        yield
    finally:
        module.requires_grad_(False)


def make_optimizer(
    kind: str,
    parameters: Iterable[nn.Parameter],
    rate: float,
    weight_decay: float,
    *,
    recorded: bool = False,
) -> torch.optim.Optimizer:
    """Adam or SGD (Nesterov, momentum 0.9), fused: one kernel for all parameters, and FiniteGuard needs it.

    `recorded`: its steps will be part of a recording, so its rate is a tensor, which a replay reads anew.
    """
    parameters = list(parameters)
    lr = torch.tensor(rate, device=parameters[0].device) if recorded else rate
    if kind == "sgd":
        return torch.optim.SGD(
            parameters, lr, momentum=0.9, nesterov=True, weight_decay=weight_decay, fused=True
        )
    return torch.optim.Adam(parameters, lr, weight_decay=weight_decay, fused=True, capturable=recorded)


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take over the moments and counts of `state`; the rate stays this optimizer's own.

    Every round writes the rate anew, and a recording knows its tensor. In a checkpoint it is another tensor,
    or a number, depending on whether that run recorded its steps.
    """
    own: list[dict[str, Any]] = [
        {name: group[name] for name in ("lr", "capturable") if name in group}
        for group in optimizer.param_groups
    ]
    optimizer.load_state_dict(state)
    for group, kept in zip(optimizer.param_groups, own, strict=True):
        group.update(kept)


def _alone(loss_of: Callable[[Any], Tensor], argument: Any) -> Tensor:
    return loss_of(argument)


class Phase:
    """A module that learns, its optimizer and its peak rate."""

    name = ""
    shared = True
    """Whether every gradient is the mean over all processes of a job."""

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        runtime: Runtime,
        guard: FiniteGuard,
        *,
        parts: int = 1,
        replay: Replay | None = None,
    ) -> None:
        self._replay = replay or Replay()
        self._parts = parts
        self._group = current_group()
        # A search keeps its gradients to itself, so it does not ask for this.
        self._compute = self._group.computing(module) if self.shared else _alone
        self.module = module
        self.optimizer = optimizer
        self._runtime = runtime
        self._guard = guard
        self._peak = float(optimizer.param_groups[0]["lr"])

    @property
    def rate(self) -> float:
        """The learning rate in force."""
        return float(self.optimizer.param_groups[0]["lr"])

    def set_rate(self, factor: float) -> None:
        """Use `factor` times the peak rate from now on."""
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(self._peak * factor)
            else:
                group["lr"] = self._peak * factor

    def _update(self, loss_of: Callable[[Any], Tensor], slices: Sequence[Any]) -> None:
        """One update from the mean loss over `slices` of a batch, one after the other."""
        self.optimizer.zero_grad(set_to_none=True)
        for one in slices:
            # Slices differ by one image at most; each counts the same.
            loss = self._compute(loss_of, one) / len(slices)
            with region(f"backward, {self.name}'s turn"):
                loss.backward()  # type: ignore[no-untyped-call]
            self._guard.check(loss, self.optimizer, self.name)
        with region("optimizer"):
            self.optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """What the phase remembers from round to round."""
        return {"optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        load_optimizer(self.optimizer, state["optimizer"])


def into(gaps: Tensors) -> Record:
    """Records into `gaps`, in order and every time anew, for `told` to pass on."""

    def note(name: str, value: Tensor) -> None:
        gaps[f"gap.{len(gaps)}.{name}"] = value.detach()

    return note


def told(outputs: Tensors, record: Record) -> Tensors:
    """Pass on what was noted; the other outputs."""
    for name, value in outputs.items():
        if name.startswith("gap."):
            record(name.split(".", 2)[2], value)
    return {name: value for name, value in outputs.items() if not name.startswith("gap.")}


class ImageSource(Protocol):
    """Whoever makes the round's own batch: the generator's phase, or what stands in its place."""

    def set_rate(self, factor: float) -> None:
        """Use `factor` times the peak rate from now on."""

    def step(
        self, generator_input: Tensor, objective: Objective, student: nn.Module, record: Record
    ) -> Batch:
        """Play the round's first move with z (B, Z); return its images with the teacher's answers."""

    def state_dict(self) -> dict[str, Any]:
        """What it remembers from round to round."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""


def judge(
    images_BCHW: Tensor,
    objective: Objective,
    student: nn.Module,
    record: Record,
    wanted_B: Tensor | None = None,
) -> tuple[Tensor, Tensor, StageRecord]:
    """The generator's loss on `images_BCHW`, with the teacher's logits and marks.

    Within an autocast and within every term's `listening`.
    """
    logits_BK, marks = objective.ask_teacher(images_BCHW)
    student_BK = None
    if objective.asks_student:
        with region("student"):
            student_BK = student(images_BCHW).float()
    view = GeneratorView(student_BK, logits_BK, images_BCHW, wanted_B)
    loss = logits_BK.new_zeros(())
    for weight, term in objective.generator_terms:
        gap = term.value(view)
        record(term.name, gap)
        loss = loss + weight * gap
    record("generator_loss", loss)
    return loss, logits_BK, marks


@contextmanager
def listening(objective: Objective) -> Iterator[None]:
    """Every term on the generator listens for the block."""
    with ExitStack() as stack:
        for _, term in objective.generator_terms:
            stack.enter_context(term.listening())
        yield


class GeneratorPhase(Phase):
    """One update of the generator against the frozen student; its batch is handed on.

    The student stays in train mode, so its BN layers normalise by this batch (in eval mode the game
    leaves the teacher's domain sooner), and so does the generator's own BN always.
    """

    name = "generator"

    def step(
        self, generator_input: Tensor, objective: Objective, student: nn.Module, record: Record
    ) -> Batch:
        """Play the round's first move with z (B, Z); return its images with the teacher's answers."""

        def body(inputs: Tensors) -> Tensors:
            made: list[Batch] = []
            gaps: Tensors = {}

            def loss_of(z_BZ: Tensor) -> Tensor:
                with self._runtime.autocast(), listening(objective):
                    with region("generator"):
                        images_BCHW = self.module(z_BZ)
                    loss, logits_BK, marks = judge(images_BCHW, objective, student, into(gaps))
                images = images_BCHW.detach().to(self._runtime.storage_dtype)
                made.append(Batch(images, logits_BK.detach(), marks.stages, marks.attention))
                return loss

            self._update(loss_of, inputs["z"].tensor_split(self._parts))
            return {**joined(made).tensors(), **gaps}

        with training(self.module):
            outputs = self._replay.run(body, {"z": generator_input}, objective)
        return Batch.of(told(outputs, record))


class StudentPhase(Phase):
    """Updates of the student (and of the adapters trained with it) on batches that are given."""

    name = "student"

    def step(
        self,
        batch: Batch,
        objective: Objective,
        student: nn.Module,
        mixing: Callable[[int, float], losses.Mixing],
        record: Record,
    ) -> None:
        """One update on `batch`."""
        inputs = batch.tensors()
        concentration = objective.mixing_concentration
        if concentration is not None and self._parts == 1:
            drawn = mixing(len(batch), concentration)
            inputs |= {"mixing.partner": drawn.partner_B, "mixing.share": drawn.share_B}

        def asked(images_BCHW: Tensor) -> Tensor:
            with region("student"):
                logits_BK: Tensor = student(images_BCHW)
            return logits_BK.float()

        def body(tensors: Tensors) -> Tensors:
            gaps: Tensors = {}
            whole, mix = Batch.of(tensors), mixing
            if "mixing.partner" in tensors:
                drawn = losses.Mixing(tensors["mixing.partner"], tensors["mixing.share"])
                mix = lambda _size, _concentration: drawn  # noqa: E731
            parts = [whole] if self._parts == 1 else list(whole.split(self._parts))
            self._update(lambda part: loss_of(part, mix, into(gaps)), parts)
            return gaps

        def loss_of(part: Batch, mixing: Callable[[int, float], losses.Mixing], record: Record) -> Tensor:
            with self._runtime.autocast():
                logits_BK, marks = objective.ask_student(student, part)
                view = StudentView(
                    batch=part,
                    student_logits_BK=logits_BK,
                    student_stages=marks.stages,
                    student_attention=marks.attention,
                    student=asked,
                    teacher=objective.teacher_logits,
                    mixing=mixing,
                )
                loss = logits_BK.new_zeros(())
                for weight, term in objective.student_terms:
                    gap = term.value(view)
                    if gap is not None:
                        record(term.name, gap)
                        loss = loss + weight * gap
            record("student_loss", loss)
            return loss

        with training(self.module):
            told(self._replay.run(body, inputs, objective), record)
