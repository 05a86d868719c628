"""Several processes on one job, as `torchrun` starts them: one global batch, one student.

    torchrun --nproc_per_node=4 -m benchmarks.mnist --seconds 120

Gradients are averaged by torch's own DistributedDataParallel; every process draws noise, pool and
mixtures from random streams of its own. The first process alone reports, and its student is the result.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dfad_core.errors import CheckpointError, ConfigError

LossOf = Callable[[Any], Tensor]


@dataclass(frozen=True)
class Group:
    """The processes of this job, and which of them this one is."""

    rank: int = 0
    size: int = 1

    def share(self, batch_size: int) -> int:
        """This process's images of a global batch. ConfigError where they cannot be shared equally."""
        if batch_size % self.size or batch_size // self.size < 2:
            raise ConfigError(
                f"a batch of {batch_size} cannot be shared by {self.size} processes", param="batch_size"
            )
        return batch_size // self.size

    def from_first(self, values: Sequence[float], device: torch.device) -> list[float]:
        """The first process's `values`, in every process."""
        if self.size == 1:
            return list(values)
        told = torch.tensor(values, dtype=torch.float64, device=device)
        dist.broadcast(told, 0)
        return [float(v) for v in told.tolist()]

    def gather(self, state: dict[str, Any]) -> list[dict[str, Any]]:
        """Every process's state, in the first process; an empty list in the others."""
        if self.size == 1:
            return [state]
        places: list[Any] | None = [None] * self.size if self.rank == 0 else None
        dist.gather_object(state, places)
        return places or []

    def mine(self, states: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """This process's of the states that were gathered. CheckpointError if their number is another."""
        if len(states) != self.size:
            raise CheckpointError(f"the checkpoint is of {len(states)} processes, not of {self.size}")
        return states[self.rank]

    def average_gradients(self, module: nn.Module) -> None:
        """Replace each gradient by its mean over all processes."""
        if self.size == 1:
            return
        for parameter in module.parameters():
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)
                parameter.grad /= self.size

    def computing(self, module: nn.Module) -> Callable[[LossOf, Any], Tensor]:
        """How a loss of `module` is computed so that its gradients become the mean over all processes."""
        if self.size == 1:
            return lambda loss_of, argument: loss_of(argument)
        wanted = [p.requires_grad for p in module.parameters()]
        module.requires_grad_(True)  # what does not learn at this moment would be left out for good
        # Adapters rest on batches from the pool. BN statistics are each process's own.
        wrapped = DistributedDataParallel(_Loss(module), find_unused_parameters=True, broadcast_buffers=False)
        for parameter, one in zip(module.parameters(), wanted, strict=True):
            parameter.requires_grad_(one)
        return wrapped


class _Loss(nn.Module):
    """A whole loss as one forward pass, which is what DistributedDataParallel watches."""

    def __init__(self, learner: nn.Module) -> None:
        super().__init__()
        self.learner = learner

    def forward(self, loss_of: LossOf, argument: Any) -> Tensor:
        """`loss_of(argument)`, which calls the learner."""
        return loss_of(argument)


def current_group() -> Group:
    """The process group that was set up, else this process alone."""
    if dist.is_available() and dist.is_initialized():
        return Group(dist.get_rank(), dist.get_world_size())
    return Group()


@contextmanager
def from_environment() -> Iterator[Group]:
    """Join the group that `torchrun` describes in the environment, for the block; else be alone.

    NCCL with one GPU a process where there are GPUs, gloo otherwise.
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
