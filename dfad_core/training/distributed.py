"""Several processes on one job, as `torchrun` starts them: one global batch, one student.

    torchrun --nproc_per_node=4 -m benchmarks.mnist --seconds 120

Gradients are averaged by torch.distributed before every step of an optimizer; every process draws noise, pool
and mixtures from random streams of its own. The first process alone reports, and its student is the result.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from dfad_core.contract.config import MIN_SLICE
from dfad_core.contract.errors import CheckpointError, ConfigError

T = TypeVar("T")


@dataclass(frozen=True)
class Group:
    """The processes of this job, and this process's rank among them."""

    rank: int = 0
    size: int = 1

    def share(self, batch_size: int, slices: int = 1) -> int:
        """Number of this process's images in a global batch.

        Raises ConfigError where the batch cannot be divided equally, or where a slice would have fewer than
        two images.
        """
        if batch_size % self.size or batch_size // self.size < MIN_SLICE * slices:
            raise ConfigError(
                f"a batch of {batch_size} cannot be shared by {self.size} processes in {slices} slices each",
                param="batch_size",
            )
        return batch_size // self.size

    def from_first(self, values: Sequence[float], device: torch.device) -> list[float]:
        """The first process's `values`, in every process."""
        if self.size == 1:
            return list(values)
        message = torch.tensor(values, dtype=torch.float64, device=device)
        dist.broadcast(message, 0)
        return [float(v) for v in message.tolist()]

    def value_of_first(self, value: T) -> T:
        """The first process's `value`, in every process."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, 0)
        return values[0]

    def gather(self, state: dict[str, Any]) -> list[dict[str, Any]]:
        """Every process's state, in the first process; an empty list in the others."""
        if self.size == 1:
            return [state]
        places: list[Any] | None = [None] * self.size if self.rank == 0 else None
        dist.gather_object(_on_cpu(state), places)  # not on this process's GPU in the first process
        return places or []

    def mine(self, states: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """This process's state among the gathered ones. Raises CheckpointError if their number is another."""
        if len(states) != self.size:
            raise CheckpointError(
                f"the checkpoint has the states of {len(states)} processes, not {self.size}"
            )
        return states[self.rank]

    def maximum(self, value: Tensor) -> None:
        """Replace `value`, in place, by its maximum over all processes."""
        if self.size > 1:
            dist.all_reduce(value, dist.ReduceOp.MAX)

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each gradient by its mean over all processes, in one message."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        if self.size == 1 or not gradients:
            return
        message = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(message)
        message /= self.size
        parts = torch.split(message, [g.numel() for g in gradients])
        torch._foreach_copy_(gradients, [p.view_as(g) for p, g in zip(parts, gradients, strict=True)])

    def average_before_steps(self, optimizer: torch.optim.Optimizer) -> None:
        """Let `optimizer` average the gradients over all processes before each of its steps."""
        if self.size > 1:
            optimizer.register_step_pre_hook(lambda *_: self.average_gradients(_parameters(optimizer)))


def _on_cpu(state: Any) -> Any:
    """`state` with all its tensors on the CPU."""
    if isinstance(state, Tensor):
        return state.cpu()
    if isinstance(state, dict):
        return {name: _on_cpu(value) for name, value in state.items()}
    return type(state)(map(_on_cpu, state)) if isinstance(state, (list, tuple)) else state


def _parameters(optimizer: torch.optim.Optimizer) -> Iterator[Tensor]:
    for group in optimizer.param_groups:
        yield from group["params"]


def current_group() -> Group:
    """The process group, or this process alone where there is none."""
    if dist.is_available() and dist.is_initialized():
        return Group(dist.get_rank(), dist.get_world_size())
    return Group()


@contextmanager
def from_environment() -> Iterator[Group]:
    """For the block, join the group that `torchrun` describes in the environment, if it does.

    NCCL with one GPU for each process where there are GPUs, gloo otherwise.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Group()
        return
    on_gpus = torch.cuda.is_available()
    if on_gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if on_gpus else "gloo")
    try:
        yield current_group()
    finally:
        dist.destroy_process_group()
