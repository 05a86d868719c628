"""Sizing of a run before its first round: slices of a batch by the memory there is, and the time it takes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dfad_core.contract.config import MIN_SLICE
from dfad_core.contract.limits import NO_MEMORY, JobMemory, job_memory
from dfad_core.contract.machine import free_memory, processor_quota
from dfad_core.contract.recipe import Recipe
from dfad_core.networks.pass_memory import pass_memory
from dfad_core.training.optimizers import trainable
from dfad_core.training.runtime import Runtime
from dfad_core.training.search_phase import evaluating

TRIAL_MACS = 5 * 10**10
"""Most multiply-accumulates of a forward pass whose time is taken; it has two images at least."""
TIMED_PASSES = 2
"""Number of passes. The fastest one counts: other programs slow passes down, but never speed them up."""


Seconds = NDArray[np.float64]
"""A time by the clock, and without other programs: the processors' time, divided among them."""


@dataclass(frozen=True)
class RoundSeconds:
    """Time of a round."""

    now: float
    """By the clock, as the machine is now."""
    alone: float
    """The same if no other program kept the processors busy: a lower bound."""


@dataclass(frozen=True)
class Sizing:
    """How a run uses the memory there is."""

    memory: JobMemory
    free_bytes: int | None
    """Memory that the run may take, its networks included; None: not known."""
    slices: int
    """Slices of each batch."""


def network_bytes(module: nn.Module) -> int:
    """Size of all tensors of `module`."""
    return sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))


def memory_for_run(runtime: Runtime, limit: int | None, *networks: nn.Module) -> int | None:
    """Bytes that a run may take, those of its `networks` included; None where that is not known.

    `limit`: memory that this process may hold, on a CPU.
    """
    if runtime.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(runtime.device)
        cached = torch.cuda.memory_reserved(runtime.device) - torch.cuda.memory_allocated(runtime.device)
        left: int | None = free + cached
    else:
        left = free_memory(limit)
    return None if left is None else left + sum(map(network_bytes, networks))


def memory_of_run(
    recipe: Recipe,
    teacher: nn.Module,
    student: nn.Module,
    generator: nn.Module | None,
    runtime: Runtime,
    *,
    shape: tuple[int, int, int],
    latent_dim: int,
    batch_size: int,
    pool_bytes: int,
) -> JobMemory:
    """Memory of a run, by a trace of its networks in its own precision; `generator`: one that learns."""
    image_1CHW = torch.zeros(1, *shape, device=runtime.device)
    z_1Z = torch.zeros(1, latent_dim, device=runtime.device)
    made = NO_MEMORY if generator is None else pass_memory(generator, z_1Z, runtime.autocast())
    return job_memory(
        recipe,
        teacher=pass_memory(teacher, image_1CHW, runtime.autocast()),
        student=pass_memory(student, image_1CHW, runtime.autocast()),
        generator=made,
        teacher_bytes=network_bytes(teacher),
        student_bytes=network_bytes(student),
        pool_bytes=pool_bytes,
        image_bytes=image_1CHW.numel() * image_1CHW.element_size(),
        batch_size=batch_size,
        value_bytes=runtime.storage_dtype.itemsize,
    )


def round_seconds(
    recipe: Recipe,
    teacher: nn.Module,
    labeller: nn.Module,
    student: nn.Module,
    runtime: Runtime,
    *,
    macs: tuple[int, int],
    shape: tuple[int, int, int],
    batch_size: int,
    slice_images: int,
) -> RoundSeconds:
    """Time of one round, a mean over rounds, by trial passes of the networks alone: a lower bound.

    `macs`: multiply-accumulates of teacher and student for one image. No weight changes.
    """
    teacher_BCHW, student_BCHW = (
        torch.zeros(
            max(MIN_SLICE, min(slice_images, TRIAL_MACS // max(1, one))), *shape, device=runtime.device
        )
        for one in macs
    )
    with torch.no_grad():
        label = _seconds(lambda: labeller(teacher_BCHW), runtime) / len(teacher_BCHW)
    with evaluating(student), trainable(student):
        parameters = [p for p in student.parameters() if p.requires_grad]
        update = _gradient_seconds(student, student_BCHW, parameters, runtime)
    fit = np.zeros(2)
    if recipe.inner_steps:
        images = teacher_BCHW.requires_grad_(True)
        fit = _gradient_seconds(teacher, images, [images], runtime)
        if recipe.adversarial_weight:
            fit = fit + update
    new_images = (recipe.inner_steps * fit + label) / recipe.images_every
    rest = recipe.labelled_batches * label + recipe.student_steps * update
    now, alone = batch_size * (new_images + rest)
    return RoundSeconds(float(now), float(alone))


def _gradient_seconds(
    network: nn.Module, images_BCHW: Tensor, leaves: Sequence[Tensor], runtime: Runtime
) -> Seconds:
    """Time for each image of a pass forward and back to `leaves`."""

    def there_and_back() -> None:
        loss = network(images_BCHW).float().square().mean()
        torch.autograd.grad(loss, leaves, allow_unused=True)

    return _seconds(there_and_back, runtime) / len(images_BCHW)


def _seconds(call: Callable[[], object], runtime: Runtime) -> Seconds:
    """Time of the fastest of some calls, under the run's autocast."""
    fastest = np.full(2, np.inf)
    for _ in range(TIMED_PASSES):
        start = _clocks(runtime)
        with runtime.autocast():
            call()
        fastest = np.minimum(fastest, _clocks(runtime) - start)
    return fastest


def _clocks(runtime: Runtime) -> Seconds:
    """The time now, and what the process's threads would have taken by it with a processor each."""
    if runtime.device.type == "cuda":
        torch.cuda.synchronize(runtime.device)
        return np.full(2, time.perf_counter())
    processors = min(torch.get_num_threads(), processor_quota() or math.inf)
    return np.array([time.perf_counter(), time.process_time() / processors])
