"""One attempt, supervised: fetch -> engine -> store.

The supervisor holds the lease and the keys, the runner holds the engine and nothing else.
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
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from app.jobs.lifecycle import Claim
from app.leases.ends import Ending, How, Stop
from app.leases.files import MANIFEST, SourceFile, Sources, StoredFile, nothing
from app.leases.records import LeaseLost
from app.platform.full import is_full
from app.platform.settings import get_settings
from app.storage import IntegrityError, StoreAway
from dfad_core.contract.inspection import Inspection
from dfad_core.contract.job_result import JobError, JobResult
from dfad_core.contract.limits import Limits
from dfad_core.contract.machine import GpuMemory
from dfad_core.contract.progress import PhaseProgress, Progress
from dfad_core.contract.serialization import JsonObject, from_json, to_json
from worker import runner_stats
from worker.kernel import resident_bytes
from worker.lease import LeaseKeeper
from worker.manifest import manifest
from worker.output import Output
from worker.process import RunnerProcess
from worker.protocol import Message
from worker.runner_stats import RunnerStats
from worker.scratch import UNEXPLAINED, no_space_in, scratch_folder
from worker.service import AWAY, Service, ServiceAway
from worker.spans import PhaseSpans
from worker.this_service import get_service
from worker.threads import runner_memory, runner_threads

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.25
"""How often the loop looks at lease, deadline and stop requests while the runner is silent."""

NO_SPACE = "no space is left"
AWAY_SECONDS = 0.5
"""Between two tries of a call while the service is away."""

ShutdownAsked = Callable[[], bool]
_In = ParamSpec("_In")
_Out = TypeVar("_Out")


class Attempt:
    """Supervises one claimed attempt. `run` returns how it ended."""

    def __init__(
        self,
        claim: Claim,
        shutdown_asked: ShutdownAsked,
        *,
        service: Service | None = None,
        runner_keeps: Sequence[int] = (),
    ) -> None:
        """`service`: where the job is from; None: this process's.

        `runner_keeps`: descriptors that the runner shall hold while it lives, such as a device's lock.
        """
        self._claim = claim
        self._service = service or get_service()
        self._keeper = LeaseKeeper(claim, self._service)
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
        self._pending: list[StoredFile] = []
        """Bytes that the store keeps and whose rows wait for the job's end; all but the student."""
        self._student: StoredFile | None = None
        self._sources: Sources | None = None
        self._last: Message | None = None
        self._phases = PhaseSpans()
        self._gpu: GpuMemory | None = None

    def run(self) -> str:
        """Run the job to an end of this attempt."""
        self._keeper.start()
        try:
            with scratch_folder(self._claim.job_id) as folder:
                return self._supervise(folder)
        except LeaseLost:
            self._forget_bytes()
            return self._put_off() if self._keeper.full else "stale"
        except (OSError, DBAPIError) as error:
            if not is_full(error) and not isinstance(error, StoreAway):
                raise
            self._forget_bytes()
            return self._put_off(str(error) if isinstance(error, StoreAway) else NO_SPACE)
        finally:
            self._phases.close()
            self._keeper.close()

    def _do(self, act: Callable[Concatenate[Claim, _In], _Out], *given: _In.args, **more: _In.kwargs) -> _Out:
        """A call of the service, again and again while it is away, as long as the lease may be ours.

        The runner waits meanwhile: its pipe fills up. Raises LeaseLost when the lease has lapsed, and what
        says that no space is left (`is_full`).
        """
        while True:
            try:
                return act(self._claim, *given, **more)
            except (OperationalError, InterfaceError, ServiceAway) as error:
                if is_full(error):
                    raise
                logger.warning("the service is away (%s); trying again", type(error).__name__)
                if self._keeper.lost.wait(AWAY_SECONDS):
                    raise LeaseLost from error

    def _supervise(self, folder: Path) -> str:
        try:
            start = self._prepare(folder)
        except IntegrityError:
            text = "The stored teacher is damaged; upload it again."
            return self._end("failed", error=JobError("corrupt_file", text))
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
            while (message := self._next(runner)) is not None:
                self._take(message)
            code = runner.wait(timeout=10)
        finally:
            runner.close()
            output.close()
            runner_stats.publish(RunnerStats())
        if self._keeper.lost.is_set():
            raise LeaseLost
        if self._died_of_space(folder):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._conclude(code)

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
                return self._service.end(self._claim, Ending("no_space"))
            except LeaseLost:
                return "stale"
            except (OSError, *AWAY) as error:
                if isinstance(error, OSError) and not is_full(error):
                    raise
                logger.warning("no space, or the service is away (%s)", type(error).__name__)
            if self._shutdown_asked():
                return "stale"
            time.sleep(AWAY_SECONDS)

    def _forget_bytes(self) -> None:
        self._service.forget(self._claim, self._pending)
        self._pending.clear()

    def _prepare(self, folder: Path) -> JsonObject:
        """Teacher and checkpoint into the runner's folder; the `start` command."""
        teacher, checkpoint = folder / "teacher.bin", folder / "checkpoint.bin"
        self._sources = sources = self._do(self._service.sources)
        self._fetch(sources.files[0], teacher)
        step = self._fetch_newest(sources.of("checkpoint"), checkpoint)
        if step is not None:
            text = f"goes on from step {step}"
            self._do(self._service.record_event, "note", {"code": "resumed", "message": text})
        inputs: JsonObject = {}
        for name, kind in (("initial", "initial"), ("labelled", "evaluation")):
            for file in sources.of(kind)[:1]:
                self._fetch(file, folder / f"{name}.bin")
                inputs[f"{name}_path"] = str(folder / f"{name}.bin")
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

    def _fetch(self, file: SourceFile, target: Path) -> None:
        self._do(self._service.fetch, file, target, nothing)

    def _fetch_newest(self, checkpoints: Sequence[SourceFile], target: Path) -> int | None:
        """Write the newest intact checkpoint to `target`; its step. None if there is none."""
        for file in checkpoints:
            try:
                self._fetch(file, target)
            except IntegrityError:
                text = f"The checkpoint of step {file.step} is damaged and is not used."
                about: JsonObject = {"message": text, "step": file.step, "artifact_id": file.id}
                self._do(self._service.record_event, "warning", {"code": "checkpoint_damaged", **about})
                continue
            return file.step
        return None

    def _next(self, runner: RunnerProcess) -> Message | None:
        """The runner's next message, with an eye on everything else; None when it has ended."""
        while True:
            self._watch(runner)
            try:
                message = runner.receive(LOOK_SECONDS)
            except TimeoutError:
                continue
            self._heard = time.monotonic()
            return message

    def _watch(self, runner: RunnerProcess) -> None:
        now, keeper = time.monotonic(), self._keeper
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
        service, data = self._service, message.data
        match message.type:
            case "alive":
                gpu = data.get("gpu")
                self._gpu = None if gpu is None else from_json(GpuMemory, gpu)
            case "phase":
                self._phases.next(data["phase"])
                self._do(service.record_phase, data["phase"])
            case "progress":
                self._do(service.record_progress, from_json(Progress, data))
            case "samples" | "checkpoint" as kind:
                file = self._store(kind, kind, message)
                self._owned(file, lambda: self._do(service.publish_file, file))
            case "note" | "warning" as kind:
                self._do(service.record_event, cast(Any, kind), data)
            case "inspection":
                self._do(service.record_teacher, from_json(Inspection, data))
            case "phase_progress":
                self._do(service.record_phase_progress, from_json(PhaseProgress, data))
            case "artifact" if data.get("kind") == "student":
                student = self._store("artifact", "student", message)
                details = {"complete": data.get("complete", False), "result": data.get("result")}
                self._owned(student, lambda: self._do(service.keep_student, student, details))
                self._student = student
            case "artifact":
                self._pending.append(self._store("artifact", data["kind"], message))
            case _:
                self._last = message

    def _store(self, role: str, kind: str, message: Message) -> StoredFile:
        return self._do(self._service.store, role, kind, message.data.get("step"), message.payload)

    def _owned(self, file: StoredFile, give_row: Callable[[], None]) -> None:
        """Have the file's row written; where that fails its bytes are nobody's."""
        try:
            give_row()
        except BaseException:
            self._service.forget(self._claim, [file])
            raise

    def _conclude(self, exit_code: int | None) -> str:
        """Turn the runner's last word, or its silence, into the attempt's end."""
        last, result = self._last, None
        if last is not None and last.data.get("result") is not None:
            result = from_json(JobResult, last.data["result"])
        artifacts = [*filter(None, [self._student]), *self._pending]
        if result is not None and artifacts:
            assert self._sources is not None
            content = manifest(self._claim, self._sources, result, artifacts)
            self._pending.append(self._do(self._service.store, "artifact", MANIFEST, None, content))
        if last is not None and last.type == "error":
            rejected = last.data.get("teacher_rejected") is True
            return self._engine_error(from_json(JobError, last.data), result, teacher_rejected=rejected)
        if result is not None:
            complete = last is not None and last.type == "result"
            return self._end("trained" if complete else "stopped", result=result)
        self._forget_bytes()
        if self._killed_for is not None and self._stop is None:
            fault = self._killed_for
            return self._end("gave_up", reason=fault.code.replace("_", " "), error=fault)
        if self._stop is not None:
            return self._end("stopped")
        text = f"The runner ended unexpectedly (exit code {exit_code})."
        return self._end("gave_up", reason="the runner died", error=JobError("runner_crashed", text))

    def _engine_error(self, error: JobError, result: JobResult | None, *, teacher_rejected: bool) -> str:
        if result is None:
            self._forget_bytes()
        if teacher_rejected:
            self._do(self._service.record_teacher, error)
        if self._stop == "cancel":
            return self._end("stopped", result=result)
        if error.code == "out_of_memory":
            return self._end("gave_up", reason="out of memory", error=error)
        return self._end("failed", error=error, result=result)

    def _end(
        self, how: How, *, reason: str = "", error: JobError | None = None, result: JobResult | None = None
    ) -> str:
        self._keeper.ending = True
        ending = Ending(how, cast("Stop | None", self._stop), reason, error, result)
        return self._do(self._service.end, ending, self._pending)
