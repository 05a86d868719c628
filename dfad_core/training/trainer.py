"""`distill`: from two networks and a config to a trained student. The loop, and one round of it.

Shapes: B images a batch, C channels, H and W sides, K classes, Z the length of the noise z. Synthetic images
lie in the teacher's normalised space.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, repeat

import torch
from torch import Tensor, nn

from dfad_core.contract.config import DistillConfig
from dfad_core.contract.errors import DivergedError, Stopped
from dfad_core.contract.evaluation_plan import EvaluationBudget
from dfad_core.contract.limits import (
    GOOD_SLICE,
    NO_LIMITS,
    Limits,
    Schedule,
    check_memory,
    size_text,
)
from dfad_core.contract.recipe import VIEWS_KEPT
from dfad_core.data import Batch
from dfad_core.data.batch import join
from dfad_core.hooks import DistillResult, Hooks
from dfad_core.losses.virtual_interpolation import Mixing
from dfad_core.networks.batch_norm import recalibrate
from dfad_core.networks.refolding import unfolded_layers
from dfad_core.training import checkpoint, runtime
from dfad_core.training.distributed import current_group
from dfad_core.training.evaluation import evaluate, evaluation_budget
from dfad_core.training.generator_phase import Record
from dfad_core.training.image_sources import SEARCHED
from dfad_core.training.monitor import Monitor
from dfad_core.training.optimizers import trainable
from dfad_core.training.profiling import region
from dfad_core.training.run_state import RunState, saved_range, saved_statistics
from dfad_core.training.samples import grid

RECALIBRATION_BATCHES = 16
SIGN_SECONDS = 10.0
CHECKPOINT_SHARE = 0.02
"""Largest share of the run's time that checkpoints may take: after a slow one the next waits longer."""


class _SignOfLife:
    """Asks `hooks.should_stop`, at most every `SIGN_SECONDS`, within a round that takes minutes.

    That shows the caller that the work goes on. A stop takes effect after the round.
    """

    def __init__(self, hooks: Hooks) -> None:
        self._hooks, self._last = hooks, time.monotonic()

    def __call__(self) -> None:
        if time.monotonic() - self._last > SIGN_SECONDS:
            self._hooks.should_stop()
            self._last = time.monotonic()


@dataclass(frozen=True)
class Gaps:
    """The values of the terms in one step, in order, for the monitor."""

    values: list[tuple[str, Tensor]] = field(default_factory=list)

    def note(self, name: str, value: Tensor) -> None:
        """Add a value."""
        self.values.append((name, value.detach()))

    def replay(self, record: Record) -> None:
        """Pass all values to `record`."""
        for name, value in self.values:
            record(name, value)


def distill(
    teacher: nn.Module,
    student: nn.Module,
    config: DistillConfig,
    hooks: Hooks | None = None,
    *,
    resume: bytes | None = None,
    generator: nn.Module | None = None,
    label_embeddings: Tensor | None = None,
    limits: Limits = NO_LIMITS,
) -> DistillResult:
    """Train `student`, in place, to give the logits of `teacher`, without any data.

    Both networks map (B, C, H, W) to logits (B, K). The teacher is set to eval mode and its weights do not
    change. `resume` is a checkpoint of the same job. `generator` maps (B, latent_dim) to images in the
    teacher's normalised space; None builds one from the config, and methods without a trained generator
    ignore it. `label_embeddings` (K, E) are for methods that start from class embeddings (`nayer`); None:
    one-hot class indices. Methods with `start_from_teacher` replace the weights of a student with the
    teacher's layers before the first step, unless the config's setting of that name is False.

    In a process group of torch.distributed (`dfad_core.training.distributed`) every process calls it with
    the same arguments. The processes share the batch; the first one calls the hooks, and its result counts.

    After the last step a checkpoint is written and `hooks.student_ready` gets the student. Then fidelity is
    measured, on a number of images that follows from the cost of networks and training. After a stop during
    this evaluation, the result has the figures measured until then, and `evaluation` is not `complete`.

    Raises Stopped, with a partial result and after a checkpoint, when a hook requests a stop; DivergedError,
    with a partial result, before the update of a non-finite loss; ShapeError for networks that do not fit
    the input; CheckpointError for a `resume` that is damaged or from another job; ConfigError for settings
    that cannot work on this machine, and for a new run that will not keep to `limits` (`memory_limit`,
    `deadline_too_short`), before its first round.
    """
    group = current_group()
    hooks = hooks if hooks is not None and group.rank == 0 else Hooks()
    resolved = runtime.resolve(config)
    with runtime.applied(resolved, config.seed), ExitStack() as stack:
        hooks.phase("warming_up")
        job = checkpoint.fingerprint(config, teacher, student)
        state, pixels, statistics = None, None, None
        if resume is not None:
            with checkpoint.restoring():
                state = group.mine(checkpoint.unpack(resume, job)["processes"])
                pixels, statistics = saved_range(state["run"]), saved_statistics(state["run"])
        run = RunState(
            teacher,
            student,
            generator,
            config,
            resolved,
            label_embeddings_KE=label_embeddings,
            pixels=pixels,
            statistics=statistics,
            memory_limit=limits.memory_bytes,
        )
        run.sign_of_life = _SignOfLife(hooks)
        stack.callback(_release, run.student)
        stack.callback(run.close)
        budget = evaluation_budget(run)
        monitor = Monitor(config, hooks, run, budget)
        if state is None:
            check_memory(run.sizing.memory, run.slices, run.sizing.free_bytes)
            _report_slices(monitor, run)
            _warn_of_size(monitor, teacher, student)
            _report_pool(monitor, run)
            if generator is None and run.pixels.source != "given" and not run.pixels.usual:
                monitor.note("input_range", run.pixels.event_data())
            if run.recipe.start_from_teacher:
                _report_start(monitor, run)
            if run.thread_choice is not None:
                monitor.note("threads_chosen", run.thread_choice.try_first().event_data())
            _check_deadline(monitor, run, budget, limits.deadline_seconds)
            run.clock.start()
        else:
            with checkpoint.restoring():
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
    if reason is not None:
        raise Stopped(f"stopped: {reason}", result=result)
    return result


def _train(run: RunState, monitor: Monitor, hooks: Hooks, job: bytes) -> tuple[Batch | None, str | None]:
    """The training loop. Returns the newest batch and, if a hook requested a stop, its reason."""
    hooks.phase("distilling")
    saved_at, interval = time.monotonic(), run.config.checkpoint_seconds
    newest, reason = None, None
    while run.spent() < 1 and reason is None:
        round_start = time.perf_counter()
        newest = train_round(run, monitor.record)
        _review_threads(run, monitor, time.perf_counter() - round_start)
        with region("reports"):
            monitor.after_step(newest)
        reason = hooks.should_stop()
        is_due = time.monotonic() - saved_at >= interval and run.clock.fraction < 1
        stop, due = run.group.from_first([reason is not None, is_due], run.runtime.device)
        if stop and reason is None:
            reason = "the first process stopped"
        if stop or due:
            run.raise_if_not_finite()
            write_start = time.monotonic()
            _checkpoint(run, monitor, hooks, job)
            saved_at = time.monotonic()
            interval = max(run.config.checkpoint_seconds, (saved_at - write_start) / CHECKPOINT_SHARE)
    run.raise_if_not_finite()
    if newest is not None:
        monitor.report_if_new(newest)
    return newest, reason


def train_round(run: RunState, record: Record) -> Batch:
    """One round: new images with the teacher's labels, if they are due, then updates of the student.

    Returns the round's own batch, or the newest one. `record` gets every term's value.
    """
    run.set_rates(run.spent())
    if run.clock.step % run.recipe.images_every == 0:
        batch, extra = new_images(run, record)
        has_changed = True
    else:
        has_changed = fill_pool(run)  # after images without finite logits were removed
        batch, extra = run.pool.recent(1)[0], []
    if has_changed and run.single_images is not None:
        run.single_images.choose()

    # The student: on single images of the pool, or on the round's own batch and then on the pool's.
    updates = 0 if run.objective.without_student else run.recipe.student_steps
    for student_batch in islice(_student_batches(run, batch, extra), updates):
        run.sign_of_life()
        run.call(student_step, student_batch, run.mixings(student_batch)).replay(record)
        if run.average is not None:
            run.average.update()

    run.clock.step += 1
    return batch


REFINED_AFTER = (4, 8, 16, 32, 64)
"""Searches after which BN statistics that were put back are estimated again."""


def new_images(run: RunState, record: Record) -> tuple[Batch, list[Batch]]:
    """A batch of images and the extra batches, labelled by the teacher and in the pool.

    The images come from one update of the generator, or a search for a batch, or are drawn at random.
    """
    if run.generator_phase is not None:
        batch, gaps = run.call(generator_step, run.noise())
        gaps.replay(record)
    elif run.search_phase is not None:
        batch = run.fitted_batch(record)
    else:
        batch = run.new_batch()
    extra = run.extra_batches.make(
        run.objective, run.runtime, run.guard, len(batch), choice=run.choice, slices=run.slices
    )
    for new_batch in (batch, *extra):
        run.pool.push(new_batch)
    fill_pool(run)
    searches = 0 if run.search_phase is None else run.clock.step // run.recipe.images_every + 1
    if searches in REFINED_AFTER and len(run.pool) > 0 and unfolded_layers(run.teacher):
        run.refine_statistics(searches - 1)  # the first lies behind drawings
    return batch, extra


def fill_pool(run: RunState) -> bool:
    """Fill the pool with drawings until single images can be taken from it; whether there were any to add."""
    drawn = 0
    while run.single_images is not None and run.single_images.waits_for_images:
        run.sign_of_life()
        run.pool.push(run.new_batch())
        drawn += 1
    return drawn > 0


def _student_batches(run: RunState, batch: Batch, extra: Sequence[Batch]) -> Iterator[Batch]:
    """Batches for the student in a round, without end: `batch` is the round's own, `extra` the others.

    Each is made or drawn when it is asked for, by the pool's random stream.
    """
    if run.single_images is not None:
        while True:
            views = []
            for _ in range(VIEWS_KEPT):
                views.append(run.batch_of_views())
                yield views[-1]
            yield from views * (run.recipe.view_uses - 1)
    yield batch
    if run.recipe.same_batch:
        yield from repeat(batch)
    if run.pool.capacity > 0:
        while True:
            yield run.pool.draw(run.streams.pool)
    yield from extra
    while True:
        yield run.new_batch()


def generator_step(run: RunState, z_BZ: Tensor) -> tuple[Batch, Gaps]:
    """One update of the generator against the frozen student; its images with the teacher's logits."""
    phase, batches, gaps = run.generator_phase, [], Gaps()
    assert phase is not None
    slices = z_BZ.tensor_split(run.slices)
    with trainable(phase.module):
        phase.optimizer.zero_grad(set_to_none=True)
        for z in slices:
            terms = Gaps()
            loss, batch = phase.loss(z, run.objective, run.student, terms.note)
            while (rows := run.guard.finite_rows(batch.teacher_logits_BK)) is not None:
                # Once more, without the noise whose images have no finite logits.
                z, terms = z[rows], Gaps()  # noqa: PLW2901
                loss, batch = phase.loss(z, run.objective, run.student, terms.note)
            gaps.values.extend(terms.values)
            # Slices differ by one image at most; each counts the same.
            (loss / len(slices)).backward()  # type: ignore[no-untyped-call]
            run.guard.check(loss, phase.optimizer, "generator")
            batches.append(batch)
        phase.optimizer.step()
    return join(batches), gaps


def student_step(run: RunState, batch: Batch, mixings: tuple[Mixing | None, ...]) -> Gaps:
    """One update of the student, and of the adapters that train with it, on `batch`."""
    phase, gaps = run.student_phase, Gaps()
    slices = list(batch.split(len(mixings)))
    with trainable(phase.module):
        phase.optimizer.zero_grad(set_to_none=True)
        for part, mixing in zip(slices, mixings, strict=True):
            loss = phase.loss(part, run.objective, run.student, mixing, gaps.note)
            (loss / len(slices)).backward()  # type: ignore[no-untyped-call]
            run.guard.check(loss, phase.optimizer, "student")
        phase.optimizer.step()
    return gaps


def _review_threads(run: RunState, monitor: Monitor, round_seconds: float) -> None:
    """Try the other number of threads if rounds became slow; report a change."""
    if run.thread_choice is None:
        return
    with region("trials of threads"):
        trial = run.thread_choice.after_round(round_seconds)
    if trial is not None and trial.changed:
        monitor.note("threads_changed", trial.event_data())


def _checkpoint(run: RunState, monitor: Monitor, hooks: Hooks, job: bytes) -> None:
    """Write a checkpoint: every process calls this, and the hooks of the first one get the bytes."""
    state = {"run": run.state_dict(), "monitor": monitor.state_dict()}
    with region("checkpoints"):
        states = run.group.gather(state)
        if states:
            hooks.checkpoint(run.clock.step, checkpoint.pack({"processes": states}, job))


def _unmeasured(run: RunState, monitor: Monitor, hooks: Hooks, newest: Batch | None) -> DistillResult:
    """The result without figures: the student with its averaged weights and recalibrated BN statistics."""
    seconds = run.clock.seconds
    if run.average is not None:
        run.average.hand_over()
    recalibrate(run.student, _calibration_images(run, hooks))
    if newest is None and len(run.pool) > 0:  # resumed from a checkpoint of the last step, or diverged
        newest = run.pool.recent(1)[0]
    return DistillResult(
        student=run.student,
        steps=run.clock.step,
        seconds=seconds,
        threads=run.num_threads,
        threads_changed=run.thread_choice is not None and run.thread_choice.changed,
        metrics=monitor.latest,
        history=monitor.history,
        events=monitor.events,
        samples=None if newest is None else grid(newest.images_BCHW, run.config.input),
    )


def _release(student: nn.Module) -> None:
    """Leave the student to the caller: on the CPU, contiguous, with trainable parameters."""
    student.to(device="cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    student.requires_grad_(True)


def _salvage(run: RunState, monitor: Monitor, hooks: Hooks) -> DistillResult | None:
    """The student after its last finite update; None if it had no update or is not finite."""
    if run.clock.step == 0:
        return None
    result = _unmeasured(run, monitor, hooks, None)
    weights = result.student.state_dict().values()
    if not all(bool(torch.isfinite(w).all()) for w in weights if w.is_floating_point()):
        return None
    hooks.student_ready(result, complete=False)
    return result


def _calibration_images(run: RunState, hooks: Hooks) -> Iterator[Tensor]:
    """Half from the pool, half new from the generator, in float32 as the student will be used.

    From the pool alone where images are fitted, since new images of the generator would not be. The hooks are
    called between two batches, as a sign of life; a stop takes effect after this short calibration.
    """
    if run.single_images is not None and len(run.pool) > 0:
        run.single_images.choose()
        for _ in range(RECALIBRATION_BATCHES):
            hooks.should_stop()
            yield from run.single_images.views().tensor_split(run.slices)
        return
    fitted = run.recipe.source in SEARCHED and len(run.pool) > 0
    pooled = run.pool.recent(RECALIBRATION_BATCHES // (1 if fitted else 2))
    for batch in pooled:
        hooks.should_stop()
        yield from batch.images_BCHW.float().tensor_split(run.slices)
    if fitted:
        return
    for _ in range(RECALIBRATION_BATCHES - len(pooled)):
        hooks.should_stop()
        with run.runtime.autocast():
            images_BCHW = run.generator(run.noise())
        yield from images_BCHW.float().tensor_split(run.slices)


def _report_start(monitor: Monitor, run: RunState) -> None:
    """A note of the weights with which the student begins."""
    own = len(run.student.state_dict())
    if run.inherited:
        text = f"{run.inherited} of the student's {own} tensors begin as copies of the teacher's."
    else:
        text = "The student begins with random weights: its layers are not those of its teacher."
    monitor.note("student_start", {"tensors": run.inherited, "of": own, "message": text})


def _report_pool(monitor: Monitor, run: RunState) -> None:
    """An event where the method's own pool would take too much memory."""
    pool_batches = run.recipe.pool_batches
    if run.config.training.pool_batches is None and pool_batches > run.pool.capacity > 0:
        size = pool_batches * run.config.pool_batch_bytes / 2**30
        text = (
            f"The pool keeps {run.pool.capacity} batches: the method's {pool_batches} would take "
            f"{size:.1f} GiB at this image and batch size."
        )
        monitor.note("pool_bounded", {"batches": run.pool.capacity, "message": text})


def _check_deadline(
    monitor: Monitor, run: RunState, budget: EvaluationBudget, deadline: float | None
) -> None:
    """Raise ConfigError where the run would not end in time though it had its processors to itself.

    Warn where it may not end in time as the machine is now. Both times are those of trial passes, which are
    less than those of rounds.
    """
    if deadline is None:
        return
    settings, seconds = run.config.budget, run.round_seconds()
    (deadline,) = run.group.from_first([deadline], run.runtime.device)
    for a_round, refuses in ((seconds.alone, True), (seconds.now, False)):
        rounds = settings.steps
        if settings.train_seconds is not None:
            rounds = min(rounds, max(1, math.ceil(settings.train_seconds / a_round)))
        schedule = Schedule(rounds, a_round, partial(budget.expected_seconds, seconds_a_round=a_round))
        if refuses:
            schedule.check(deadline)
        elif schedule.expected_seconds > deadline:
            monitor.warn("deadline_at_risk", {"message": schedule.too_late(deadline)})


def _report_slices(monitor: Monitor, run: RunState) -> None:
    """An event where batches are sliced to fit the memory; a warning where the slices are small."""
    images, sizing = run.slice_images, run.sizing
    if run.config.training.accumulation or run.slices == 1:
        return
    peak, free = size_text(sizing.memory.training_bytes(run.slices)), size_text(sizing.free_bytes or 0)
    text = (
        f"Each batch of {run.batch_size} is trained in {run.slices} slices of {images} images: about {peak} "
        f"of the {free} of memory that there are."
    )
    data: dict[str, object] = {"slices": run.slices, "images": images}
    if images >= GOOD_SLICE:
        monitor.note("batch_sliced", {**data, "message": text})
    else:
        text += " So few images make poor statistics of batch norm; a smaller student or more memory helps."
        monitor.warn("batch_sliced", {**data, "message": text})


def _warn_of_size(monitor: Monitor, teacher: nn.Module, student: nn.Module) -> None:
    sizes = {
        f"{name}_parameters": sum(p.numel() for p in network.parameters())
        for name, network in (("student", student), ("teacher", teacher))
    }
    if sizes["student_parameters"] > sizes["teacher_parameters"]:
        monitor.warn("student_larger_than_teacher", sizes)
