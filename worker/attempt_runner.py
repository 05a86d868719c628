"""One attempt, supervised: fetch -> engine -> store.

The supervisor holds the database and the secrets, the runner holds the engine and nothing else.
Whatever happens to the runner, the attempt ends in exactly one of: succeeded, failed, cancelled,
paused, requeued, or stale (another attempt has the job; nothing was published).
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from app.files.artifacts.blobs import forget
from app.jobs import lifecycle
from app.jobs.lifecycle import Claim
from app.jobs.no_space import put_off
from app.models import Artifact
from app.platform.db import session_scope
from app.platform.full import is_full
from app.platform.settings import get_settings
from app.storage import IntegrityError, StoreAway
from app.teachers.schemas import TeacherSpec
from dfad_core.contract.inspection import Inspection
from dfad_core.contract.job_result import JobError, JobResult
from dfad_core.contract.limits import Limits
from dfad_core.contract.machine import GpuMemory
from dfad_core.contract.progress import PhaseProgress, Progress
from dfad_core.contract.serialization import JsonObject, from_json, to_json
from worker import publish, runner_stats
from worker.inspection import record_inspection
from worker.kernel import resident_bytes
from worker.lease import LeaseKeeper
from worker.manifest import manifest
from worker.output import Output
from worker.process import RunnerProcess
from worker.protocol import Message
from worker.publish import LeaseLost, Pending
from worker.runner_stats import RunnerStats
from worker.scratch import UNEXPLAINED, no_space_in, scratch_folder
from worker.spans import PhaseSpans
from worker.threads import runner_memory, runner_threads

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.25
"""How often the loop looks at lease, deadline and stop requests while the runner is silent."""

NO_SPACE = "no space is left"
AWAY_SECONDS = 0.5
"""Between two tries of a write while the database is away."""

ShutdownAsked = Callable[[], bool]
_In = TypeVar("_In")
_Out = TypeVar("_Out")


def _patiently(keeper: LeaseKeeper, act: Callable[[_In], _Out], given: _In) -> _Out:
    """Do what needs the database, again and again while it is away, as long as the lease may be ours.

    The runner waits meanwhile: its pipe fills up. Raises LeaseLost when the lease has lapsed, and what says
    that no space is left (`is_full`).
    """
    while True:
        try:
            return act(given)
        except (OperationalError, InterfaceError) as error:
            if is_full(error):
                raise
            logger.warning("the database is away (%s); trying again", type(error).__name__)
            if keeper.lost.wait(AWAY_SECONDS):
                raise LeaseLost from error


class Attempt:
    """Supervises one claimed attempt. `run` returns how it ended."""

    def __init__(
        self, claim: Claim, shutdown_asked: ShutdownAsked, *, runner_keeps: Sequence[int] = ()
    ) -> None:
        """`runner_keeps`: descriptors that the runner shall hold while it lives, such as a device's lock."""
        self._claim = claim
        self._ids = {"job_id": claim.job_id, "attempt": claim.attempt}
        self._runner_keeps = tuple(runner_keeps)
        self._shutdown_asked = shutdown_asked
        self._settings = get_settings()
        budget: Any = claim.resolved_spec["budget"]
        self._deadline = time.monotonic() + budget["max_runtime_seconds"] - claim.seconds_before
        self._stop: str | None = None
        self._kill_at: float | None = None
        self._heard = time.monotonic()
        self._killed_for: JobError | None = None
        self._pending = Pending()
        self._student: Artifact | None = None
        self._last: Message | None = None
        self._as_uploaded = False
        self._phases = PhaseSpans()
        self._gpu: GpuMemory | None = None

    def run(self) -> str:
        """Run the job to an end of this attempt."""
        keeper = LeaseKeeper(self._claim)
        keeper.start()
        try:
            with scratch_folder(self._claim.job_id) as folder:
                return self._supervise(folder, keeper)
        except LeaseLost:
            self._forget_bytes()
            return self._put_off() if keeper.full else "stale"
        except (OSError, DBAPIError) as error:
            if not is_full(error) and not isinstance(error, StoreAway):
                raise
            self._forget_bytes()
            return self._put_off(str(error) if isinstance(error, StoreAway) else NO_SPACE)
        finally:
            self._phases.close()
            keeper.close()

    def _supervise(self, folder: Path, keeper: LeaseKeeper) -> str:
        try:
            start = _patiently(keeper, self._prepare, folder)
        except IntegrityError:
            text = "The stored teacher is damaged; upload it again."
            return self._finish_failed(JobError("corrupt_file", text))
        threads = runner_threads(self._settings)
        # What the engine writes goes to the worker's own log: for operators, never for clients.
        output = Output("worker.runner")
        try:
            runner = RunnerProcess(
                folder,
                threads,
                log=output.descriptor,
                warm=True,
                kept=self._runner_keeps,
            )
        finally:
            output.handed_over()
        self._heard = time.monotonic()
        try:
            runner.send("start", {**start, "threads": threads})
            while (message := self._next(runner, keeper)) is not None:
                _patiently(keeper, self._take, message)
            code = runner.wait(timeout=10)
        finally:
            runner.close()
            output.close()
            runner_stats.publish(RunnerStats())
        if keeper.lost.is_set():
            raise LeaseLost
        if self._died_of_space(folder):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return _patiently(keeper, self._conclude, code)

    def _died_of_space(self, folder: Path) -> bool:
        """Whether the runner's end, which it cannot explain, is that of a process without space to write."""
        unexplained = self._last is None or self._last.data.get("code") in UNEXPLAINED
        return unexplained and self._stop is None and self._killed_for is None and no_space_in(folder)

    def _put_off(self, reason: str = NO_SPACE) -> str:
        """Give the job back until there is space. To say so may need some, too, and is tried again and again.

        The lease may lapse meanwhile: the guard is the fence, and reapers leave some time.
        """
        logger.error("%s; the job waits for it", reason, extra=self._ids)
        while True:
            try:
                with session_scope() as session:
                    ended = put_off(session, self._claim)
                break
            except (OperationalError, InterfaceError) as error:
                logger.warning("no space, or the database is away (%s)", type(error).__name__)
            if self._shutdown_asked():
                return "stale"
            time.sleep(AWAY_SECONDS)
        if ended == "cancelled":
            self._drop_checkpoints(unless_needed=True)
        return ended

    def _forget_bytes(self) -> None:
        try:
            self._pending.discard()
        except DBAPIError:
            logger.warning("its bytes stay until they are swept", extra=self._ids)

    def _drop_checkpoints(self, *, unless_needed: bool = False) -> None:
        """The job has ended; what is not deleted now is swept later.

        `unless_needed`: not where they are all that is left of the training.
        """
        try:
            if not unless_needed or publish.has_student(self._claim.job_id):
                publish.drop_checkpoints(self._claim.job_id, keep=0)
        except DBAPIError:
            logger.warning("its checkpoints stay until they are swept", extra=self._ids)

    def _prepare(self, folder: Path) -> JsonObject:
        """Teacher and checkpoint into the runner's folder; the `start` command."""
        teacher, checkpoint = folder / "teacher.bin", folder / "checkpoint.bin"
        said = publish.fetch_teacher(self._claim.teacher_id, teacher)
        uploaded_as = TeacherSpec.model_validate(said).model_dump(mode="json")
        self._as_uploaded = uploaded_as == self._claim.resolved_spec["teacher"]
        step, damaged = publish.fetch_newest_checkpoint(self._claim.job_id, checkpoint)
        for row in damaged:
            text = f"The checkpoint of step {row.step} is damaged and is not used."
            about: JsonObject = {"message": text, "step": row.step, "artifact_id": row.id}
            publish.record_event(self._claim, "warning", {"code": "checkpoint_damaged", **about})
        if step is not None:
            text = f"goes on from step {step}"
            publish.record_event(self._claim, "note", {"code": "resumed", "message": text})
        inputs: JsonObject = {}
        for name, kind in (("initial", "initial"), ("labelled", "evaluation")):
            path = folder / f"{name}.bin"
            if publish.fetch_input(self._claim.job_id, kind, path):
                inputs[f"{name}_path"] = str(path)
        return {
            **inputs,
            "mode": "distill",
            "spec": self._claim.resolved_spec,
            "teacher_path": str(teacher),
            "resume_path": None if step is None else str(checkpoint),
            "checkpoint_seconds": self._settings.checkpoint_seconds,
            "limits": to_json(
                Limits(max(0.0, self._deadline - time.monotonic()), runner_memory(self._settings))
            ),
        }

    def _next(self, runner: RunnerProcess, keeper: LeaseKeeper) -> Message | None:
        """The runner's next message, with an eye on everything else; None when it has ended."""
        while True:
            self._watch(runner, keeper)
            try:
                message = runner.receive(LOOK_SECONDS)
            except TimeoutError:
                continue
            self._heard = time.monotonic()
            return message

    def _watch(self, runner: RunnerProcess, keeper: LeaseKeeper) -> None:
        now = time.monotonic()
        if keeper.lost.is_set():
            runner.kill()
            return
        fault = self._fault(runner.pid, now)
        if fault is not None and self._killed_for is None:
            logger.warning("the runner is killed: %s", fault.message, extra=self._ids)
            self._killed_for = fault
            runner.kill()
        if self._stop is None:
            if keeper.stop_reason is not None:
                self._stop = keeper.stop_reason
            elif self._shutdown_asked():
                self._stop = "shutdown"
            elif now > self._deadline:
                self._stop = "deadline"
            if self._stop is not None:
                runner.send("stop", {"reason": self._stop})
                self._kill_at = now + self._settings.stop_grace_seconds
        elif self._kill_at is not None and now > self._kill_at:
            logger.warning("the runner did not stop in time and is killed", extra=self._ids)
            runner.kill()

    def _fault(self, pid: int, now: float) -> JobError | None:
        """Why the runner must not go on, if so: it hangs, or takes more memory than it may."""
        patience, limit = self._settings.watchdog_seconds, self._settings.runner_memory_bytes
        held = resident_bytes(pid)
        runner_stats.publish(RunnerStats(held, self._gpu))
        if now - self._heard > patience:
            return JobError("hung", f"The runner made no step for {patience:g} s.")
        if limit is not None and held > limit:
            text = f"The job needs more memory than the {limit / 2**20:.0f} MiB that it may have."
            return JobError("out_of_memory", text)
        return None

    def _take(self, message: Message) -> None:
        claim, data = self._claim, message.data
        match message.type:
            case "alive":
                gpu = data.get("gpu")
                self._gpu = None if gpu is None else from_json(GpuMemory, gpu)
            case "phase":
                self._phases.next(data["phase"])
                publish.record_phase(claim, data["phase"])
            case "progress":
                publish.record_progress(claim, from_json(Progress, data))
            case "samples":
                publish.publish_now(claim, message, "samples")
            case "checkpoint":
                publish.publish_now(claim, message, "checkpoint")
            case "note" | "warning":
                publish.record_event(claim, message.type, data)
            case "inspection":
                self._record_inspection(from_json(Inspection, data))
            case "phase_progress":
                publish.record_phase_progress(claim, from_json(PhaseProgress, data))
            case "artifact" if data.get("kind") == "student":
                self._student = publish.keep_student(claim, message)
            case "artifact":
                self._pending.rows.append(publish.store_bytes(claim, message))
            case _:
                self._last = message

    def _record_inspection(self, found: Inspection | JobError) -> None:
        """A job's own inspection is the teacher's, unless the job describes the file otherwise."""
        if self._as_uploaded:
            record_inspection(self._claim.teacher_id, found)

    def _conclude(self, exit_code: int | None) -> str:
        """Turn the runner's last word, or its silence, into the attempt's end."""
        last, result = self._last, None
        if last is not None and last.data.get("result") is not None:
            result = from_json(JobResult, last.data["result"])
        artifacts = [*filter(None, [self._student]), *self._pending.rows]
        if result is not None and artifacts:
            file = manifest(self._claim, result, artifacts)
            self._pending.rows.append(publish.store_bytes(self._claim, file))
        if last is not None and last.type == "error":
            rejected = last.data.get("teacher_rejected") is True
            return self._engine_error(from_json(JobError, last.data), result, teacher_rejected=rejected)
        if result is not None:
            return self._trained(result, complete=last is not None and last.type == "result")
        self._pending.discard()
        if self._killed_for is not None and self._stop is None:
            return self._give_up(self._killed_for.code.replace("_", " "), self._killed_for)
        if self._stop is not None:
            return self._stopped(None, None)
        text = f"The runner ended unexpectedly (exit code {exit_code})."
        return self._give_up("the runner died", JobError("runner_crashed", text))

    def _give_up(self, reason: str, error: JobError) -> str:
        """Another attempt, or failed at the last; cancelled if that was asked for meanwhile."""
        with session_scope() as session:
            ended = lifecycle.give_up_attempt(session, self._claim, reason, error)
            if ended == "stale" and lifecycle.cancelled(session, self._claim):
                ended = "cancelled"
        if ended in ("failed", "cancelled"):
            self._drop_checkpoints(unless_needed=True)
        return ended

    def _engine_error(self, error: JobError, result: JobResult | None, *, teacher_rejected: bool) -> str:
        if result is None:
            self._pending.discard()
        if teacher_rejected:
            self._record_inspection(error)
        if self._stop == "cancel":
            return self._stopped(result, self._pending)
        if error.code == "out_of_memory":
            return self._give_up("out of memory", error)
        return self._finish_failed(error, result)

    def _finish_failed(self, error: JobError, result: JobResult | None = None) -> str:
        """The end of a job that cannot succeed; what it had trained is kept."""
        with session_scope() as session:
            if lifecycle.fail(session, self._claim, error, result):
                ended = "failed"
            elif lifecycle.cancelled(session, self._claim, result):
                ended = "cancelled"
            else:
                ended = "stale"
            if ended != "stale":
                self._pending.publish(session, partial=True)
        if ended == "stale":
            self._pending.discard()
        else:
            self._drop_checkpoints(unless_needed=result is None)
        return ended

    def _trained(self, result: JobResult, *, complete: bool) -> str:
        if complete:
            blobs: list[str] = []
            with session_scope() as session:
                succeeded = lifecycle.succeed(session, self._claim, result)
                if succeeded:
                    self._pending.publish(session, partial=False)
                    blobs = publish.remove_checkpoints(session, self._claim.job_id)
            forget(blobs)
            if succeeded:
                return "succeeded"
        return self._stopped(result, self._pending)

    def _stopped(self, result: JobResult | None, pending: Pending | None) -> str:
        """The user paused or cancelled, time ran out, or the worker shuts down; what was trained is kept."""
        if self._stop in ("shutdown", "pause"):
            # What was asked for last counts: a job that is to pause does so though its worker shuts down.
            with session_scope() as session:
                if lifecycle.paused(session, self._claim):
                    ended = "paused"
                elif lifecycle.requeue(session, self._claim, "its worker shut down", delay=0, counts=False):
                    ended = "requeued"
                else:
                    ended = ""
            if ended:
                self._pending.discard()
                return ended
        late = JobError("deadline_exceeded", "The job ran past its max_runtime_seconds.")
        with session_scope() as session:
            # A cancel may have come between whatever stopped the runner and now: it goes before.
            if self._stop == "deadline" and lifecycle.fail(session, self._claim, late, result):
                ended = "failed"
            elif lifecycle.cancelled(session, self._claim, result):
                ended = "cancelled"
            else:
                ended = "stale"
            if ended != "stale" and pending is not None:
                pending.publish(session, partial=True)
        if ended == "stale":
            self._pending.discard()
        else:
            self._drop_checkpoints()
        return ended
