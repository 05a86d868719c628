"""`distill`: the whole game, from two networks and a config to a trained student."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dfad_core.contract.config import DistillConfig
from dfad_core.data import Batch
from dfad_core.errors import DivergedError, Stopped
from dfad_core.hooks import Hooks
from dfad_core.networks.batch_norm import recalibrate
from dfad_core.profiling import region
from dfad_core.training import checkpoint, runtime
from dfad_core.training.distributed import current_group
from dfad_core.training.evaluation import evaluate, evaluation_budget
from dfad_core.training.monitor import Monitor
from dfad_core.training.run_state import RunState
from dfad_core.training.samples import grid

RECALIBRATION_BATCHES = 16
CHECKPOINT_SHARE = 0.02
"""Largest share of the run's time that checkpoints may take: after a slow one the next waits longer."""


@dataclass
class DistillResult:
    """What a run leaves behind."""

    student: nn.Module
    """Trained, in eval mode, on the CPU."""
    steps: int
    """Finished rounds."""
    seconds: float
    """Training time, interrupted runs included."""
    threads: int
    """CPU threads in use at the end."""
    threads_changed: bool = False
    """Whether the number changed between two rounds: such a run is not repeatable to the bit."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The last report's figures."""
    history: list[dict[str, float]] = field(default_factory=list)
    """Reports over time (`step`, `seconds` and metrics), thinned out where old."""
    fidelity: dict[str, float] = field(default_factory=dict)
    """Agreement with the teacher on inputs never trained on, by source; empty if stopped."""
    evaluation: dict[str, Any] = field(default_factory=dict)
    """What `fidelity` rests on: `images` planned for each source and `measured` of it, `seconds` and
    `bound_seconds`, and whether all was measured (`complete`). Empty if training was stopped."""
    events: list[dict[str, Any]] = field(default_factory=list)
    """What the hooks were told, with the step."""
    samples: NDArray[np.uint8] | None = None
    """A picture of the generator's last images."""
    synthetic_BCHW: Tensor | None = None
    """Inputs in the teacher's normalised space that were never trained on, on the CPU; None if stopped."""


def distill(
    teacher: nn.Module,
    student: nn.Module,
    config: DistillConfig,
    hooks: Hooks | None = None,
    *,
    resume: bytes | None = None,
    generator: nn.Module | None = None,
    label_embeddings: Tensor | None = None,
) -> DistillResult:
    """Train `student` (in place) to answer as `teacher` does, without any data.

    Both networks map (B, C, H, W) to logits (B, K). The teacher is frozen and put in eval mode; its
    weights stay as they are to the bit. `resume` is a checkpoint of the same job; `generator` maps
    (B, latent_dim) to images in the teacher's normalised space and is built from the config if absent;
    methods without one that learns ignore it. `label_embeddings` (K, E) serve the methods that start from
    class embeddings (`nayer`); class indices if absent.

    In a process group of torch.distributed (`dfad_core.training.distributed`) every process calls it with
    the same arguments; the batch is shared out, and the first process's hooks and result count.

    After the last step a checkpoint is written and `hooks.student_ready` gets the student; then fidelity is
    measured, on as many images as the networks' cost and the training allow. A stop that comes only then
    leaves out what is not measured yet, and `evaluation` says so.

    Raises Stopped (with a partial result, after a checkpoint) when a hook asks for it, DivergedError
    (with a partial result too) before the update of a non-finite loss, ShapeError for networks that
    do not fit the input, CheckpointError for a `resume` that is damaged or another job's, ConfigError
    for settings that cannot work on this machine.
    """
    group = current_group()
    hooks = hooks if hooks is not None and group.rank == 0 else Hooks()
    resolved = runtime.resolve(config)
    with runtime.applied(resolved, config.seed):
        hooks.phase("warming_up")
        job = checkpoint.fingerprint(config, teacher, student)
        run = RunState(teacher, student, generator, config, resolved, label_embeddings_KE=label_embeddings)
        budget = evaluation_budget(run)
        monitor = Monitor(config, hooks, run, budget)
        if resume is None:
            _warn_of_size(monitor, teacher, student)
            if generator is None and run.pixels.source != "given" and not run.pixels.usual:
                monitor.event("input_range", run.pixels.about())
            if run.thread_choice is not None:
                monitor.event("threads_chosen", run.thread_choice.try_first().about())
            run.clock.start()
        else:
            state = group.mine(checkpoint.unpack(resume, job)["processes"])
            run.load_state_dict(state["run"])
            monitor.load_state_dict(state["monitor"])
        try:
            newest, reason = _train(run, monitor, hooks, job)
        except DivergedError as error:
            error.result = _salvage(run, monitor, hooks)
            raise
        if newest is not None and reason is None:
            _checkpoint(run, monitor, hooks, job)
        hooks.phase("evaluating")
        result = _unmeasured(run, monitor, hooks, newest)
        hooks.student_ready(result, complete=reason is None)
        if reason is None:
            evaluate(run, hooks, result, budget)
        _give_back(run.student)
    if reason is not None:
        raise Stopped(f"stopped: {reason}", result=result)
    return result


def _train(run: RunState, monitor: Monitor, hooks: Hooks, job: bytes) -> tuple[Batch | None, str | None]:
    """The loop. Returns the newest batch and, if a hook asked to stop, its reason."""
    hooks.phase("distilling")
    saved_at, rest = time.monotonic(), run.config.checkpoint_seconds
    newest, reason = None, None
    while run.spent() < 1 and reason is None:
        began = time.perf_counter()
        newest = run.play_round(monitor.record)
        _look_at_threads(run, monitor, time.perf_counter() - began)
        with region("reports"):
            monitor.after_step(newest)
        reason = hooks.should_stop()
        wanted = [reason is not None, time.monotonic() - saved_at >= rest and run.clock.fraction < 1]
        stop, due = run.group.from_first(wanted, run.runtime.device)
        if stop and reason is None:
            reason = "the first process stopped"
        if stop or due:
            run.guard.raise_if_set()
            writing_from = time.monotonic()
            _checkpoint(run, monitor, hooks, job)
            saved_at = time.monotonic()
            rest = max(run.config.checkpoint_seconds, (saved_at - writing_from) / CHECKPOINT_SHARE)
    run.guard.raise_if_set()
    if newest is not None:
        monitor.report_if_new(newest)
    return newest, reason


def _look_at_threads(run: RunState, monitor: Monitor, round_seconds: float) -> None:
    """Try the other number of threads if rounds got slow; tell of a change."""
    if run.thread_choice is None:
        return
    with region("trials of threads"):
        trial = run.thread_choice.after_round(round_seconds)
    if trial is not None and trial.changed:
        monitor.event("threads_changed", trial.about())


def _checkpoint(run: RunState, monitor: Monitor, hooks: Hooks, job: bytes) -> None:
    """Every process takes part; the first one's hooks get the bytes."""
    state = {"run": run.state_dict(), "monitor": monitor.state_dict()}
    with region("checkpoints"):
        states = run.group.gather(state)
        if states:
            hooks.checkpoint(run.clock.step, checkpoint.pack({"processes": states}, job))


def _unmeasured(run: RunState, monitor: Monitor, hooks: Hooks, newest: Batch | None) -> DistillResult:
    """What training gave: the student with its average taken over and its BN statistics measured anew."""
    seconds = run.clock.seconds
    if run.average is not None:
        run.average.hand_over()
    recalibrate(run.student, _calibration_images(run, hooks))
    config = run.config
    if newest is None:  # resumed from a checkpoint of the last step
        pooled = run.pool.recent(1) if run.recipe.source == "pixels" else []
        newest = pooled[0] if pooled else run.fresh_batch()
    return DistillResult(
        student=run.student,
        steps=run.clock.step,
        seconds=seconds,
        threads=run.num_threads,
        threads_changed=run.thread_choice is not None and run.thread_choice.changed,
        metrics=monitor.latest,
        history=monitor.history,
        events=monitor.events,
        samples=grid(newest.images_BCHW, config.input),
    )


def _give_back(student: nn.Module) -> None:
    """The student as its caller gets it: on the CPU, in the usual order of memory, free to be trained on."""
    student.to(device="cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    student.requires_grad_(True)


def _salvage(run: RunState, monitor: Monitor, hooks: Hooks) -> DistillResult | None:
    """The student as its last sound update left it; None if it had none or is not finite."""
    if run.clock.step == 0:
        return None
    result = _unmeasured(run, monitor, hooks, None)
    weights = result.student.state_dict().values()
    if not all(bool(torch.isfinite(w).all()) for w in weights if w.is_floating_point()):
        return None
    hooks.student_ready(result, complete=False)
    _give_back(run.student)
    return result


def _calibration_images(run: RunState, hooks: Hooks) -> Iterator[Tensor]:
    """Half from the pool, half new from the generator, in float32 as the student will be used.

    From the pool alone where images are fitted pixel by pixel: there is nothing to make new ones. The hooks
    are asked between two batches; a stop waits for the student, which is a matter of moments.
    """
    fitted = run.recipe.source == "pixels"
    pooled = run.pool.recent(RECALIBRATION_BATCHES // (1 if fitted else 2))
    for batch in pooled:
        hooks.should_stop()
        yield batch.images_BCHW.float()
    if fitted:
        return
    for _ in range(RECALIBRATION_BATCHES - len(pooled)):
        hooks.should_stop()
        with run.runtime.autocast():
            images_BCHW = run.generator(run.noise())
        yield images_BCHW.float()


def _warn_of_size(monitor: Monitor, teacher: nn.Module, student: nn.Module) -> None:
    sizes = {
        f"{name}_parameters": sum(p.numel() for p in network.parameters())
        for name, network in (("student", student), ("teacher", teacher))
    }
    if sizes["student_parameters"] > sizes["teacher_parameters"]:
        monitor.event("student_larger_than_teacher", sizes)
