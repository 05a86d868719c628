"""Jobs that the service loses or doubles while its processes are killed at random.

    python -m benchmarks.chaos --stack embedded --jobs 200 --seconds 60 --short
    python -m benchmarks.chaos --stack full --jobs 10000 --kills 500
    python -m benchmarks.chaos --remote --jobs 100 --seconds 60 --short

The real stack (API, workers, and Redis with PostgreSQL or the embedded pair) is given jobs over HTTP while
runners, workers, the API, Redis and PostgreSQL die, hang and forget. When all faults are injected and every
job has ended it is counted: `lost` are jobs that were accepted and have no student, `doubled` those with more
than one end or student, or more jobs than were asked for. `left` are folders, files, processes, and stored
bytes of no job that remain once the sweepers have been there. Exit code 1 unless all three are 0.

`--short`: leases of seconds, for a short run, which does not wait for sweepers and has no `left`. Without it
the service's default numbers. Recovery is the time from a kill that hit a running job to that job's next
start.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import torch

from benchmarks.record import RESULTS, append
from benchmarks.service.chaos_leftovers import left_behind
from testing.processes import below, is_runner
from testing.services import ServiceMissing
from testing.stack import Part, Stack, wait_until_ready

FILE = RESULTS / "chaos.jsonl"
TEACHER = Path(__file__).resolve().parents[1] / "examples" / "digits" / "teacher.safetensors"
PATIENCE_SECONDS = 600.0
"""With no job ending for so long, those that are left count as lost."""
ENGINE_SPEC = {
    "student": {"architecture": "mlp8", "args": {"width": 8}},
    "budget": {"steps": 30},
    "training": {"batch_size": 16, "student_steps": 2, "generator_width": 4, "latent_dim": 8},
}


@dataclass(eq=False)
class Submitter(threading.Thread):
    """Sends jobs one after the other, each under a key of its own, until the service has taken it."""

    url: str
    spec: dict[str, Any]
    jobs: int
    headers: dict[str, str]
    ids: dict[int, str] = field(default_factory=dict)
    refusals: dict[str, int] = field(default_factory=dict)
    """How often the service answered what, when it did not take a job."""

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def run(self) -> None:
        """Until all are taken."""
        teacher_id = None
        with httpx.Client(base_url=self.url, timeout=30, headers=self.headers) as client:
            for number in range(self.jobs):
                spec = {**self.spec, "seed": number}
                while number not in self.ids:
                    with contextlib.suppress(httpx.HTTPError):
                        answer = self._send(client, number, spec, teacher_id)
                        if answer.status_code == 201:
                            job = answer.json()
                            self.ids[number], teacher_id = job["id"], job["teacher"]["id"]
                            break
                        self._note(answer)
                    time.sleep(0.1)

    def _note(self, answer: httpx.Response) -> None:
        code = answer.json().get("code") if "json" in answer.headers.get("Content-Type", "") else None
        word = f"{answer.status_code} {code}"
        self.refusals[word] = self.refusals.get(word, 0) + 1

    def _send(
        self, client: httpx.Client, number: int, spec: dict[str, Any], teacher_id: str | None
    ) -> httpx.Response:
        import json

        headers = {"Idempotency-Key": f"chaos-{number}"}
        if teacher_id is not None:
            return client.post("/jobs", json={**spec, "teacher_id": teacher_id}, headers=headers)
        files: dict[str, Part] = {
            "spec": (None, json.dumps(spec), "application/json"),
            "teacher": ("teacher.safetensors", TEACHER.read_bytes()),
        }
        return client.post("/jobs", files=files, headers=headers)


class Faults:
    """What can be done to the stack. Each returns a word for the count."""

    def __init__(self, stack: Stack, rng: random.Random, hang_seconds: float) -> None:
        self._stack, self._rng, self._hang_seconds = stack, rng, hang_seconds
        self.hit: list[tuple[datetime, str]] = []
        self.count: dict[str, int] = {}
        self._halted: list[tuple[float, int]] = []
        faults: list[tuple[int, Callable[[], bool]]] = [
            (10, self.runner), (6, self.worker), (2, self.api), (1, self.halt),
        ]  # fmt: skip
        if stack.redis is not None:
            faults += [(1, self.redis), (1, self.flush), (1, self.database)]
        self._faults = [fault for weight, fault in faults for _ in range(weight)]

    @property
    def kills(self) -> int:
        """Of any process."""
        return sum(n for name, n in self.count.items() if name not in ("flush", "halt"))

    def inject(self) -> None:
        """One fault at random that can be had now."""
        fault = self._rng.choice(self._faults)
        if fault():
            self.count[fault.__name__] = self.count.get(fault.__name__, 0) + 1

    def wake(self) -> None:
        """Let those go on that were halted long enough."""
        now = time.monotonic()
        for item in [item for item in self._halted if item[0] <= now]:
            self._halted.remove(item)
            with contextlib.suppress(ProcessLookupError):
                os.kill(item[1], signal.SIGCONT)

    def _kill(self, pid: int) -> bool:
        holders = {worker for worker in self._stack.workers if pid in (worker, *below(worker))}
        with contextlib.suppress(ProcessLookupError):
            with contextlib.suppress(Exception):  # the database may be down just now
                held = held_by(holders)
                self.hit += [(datetime.now(UTC), job_id) for job_id in held]
            os.kill(pid, signal.SIGKILL)
            return True
        return False

    def _one(self, pids: list[int]) -> bool:
        return bool(pids) and self._kill(self._rng.choice(pids))

    def runner(self) -> bool:
        """A runner dies."""
        return self._one([pid for worker in self._stack.workers for pid in below(worker) if is_runner(pid)])

    def worker(self) -> bool:
        """A whole worker dies."""
        return self._one(self._stack.workers)

    def api(self) -> bool:
        """The API dies."""
        process = self._stack.processes["api"]
        process.kill()
        return True

    def halt(self) -> bool:
        """A worker's processes stop for longer than their lease, and go on as if nothing had been."""
        workers = [pid for pid in self._stack.workers if pid not in [p for _, p in self._halted]]
        if len(workers) < 2:  # somebody has to work meanwhile
            return False
        for pid in [(chosen := self._rng.choice(workers)), *below(chosen)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                self._halted.append((time.monotonic() + self._hang_seconds, pid))
        return True

    def redis(self) -> bool:
        """Redis dies and comes back."""
        assert self._stack.redis is not None
        self._stack.redis.kill()
        time.sleep(self._rng.uniform(0, 1))
        self._stack.redis.start()
        return True

    def flush(self) -> bool:
        """Redis forgets every message."""
        assert self._stack.redis is not None
        self._stack.redis.run("FLUSHALL")
        return True

    def database(self) -> bool:
        """PostgreSQL goes down as by a power cut and comes back."""
        assert self._stack.postgres is not None
        self._stack.postgres.kill()
        self._stack.postgres.start()
        return True


def held_by(pids: set[int]) -> list[str]:
    """Jobs whose lease one of these processes holds."""
    from sqlalchemy import select

    from app.models import Job
    from app.models.job_states import LEASED
    from app.platform.db import read_scope

    with read_scope() as session:
        rows = session.execute(select(Job.id, Job.lease_owner).where(Job.status.in_(LEASED))).all()
    return [row.id for row in rows if int(row.lease_owner.split(":")[1]) in pids]


def ended() -> int:
    """Jobs that have come to an end."""
    from sqlalchemy import func, select

    from app.models import Job
    from app.models.job_states import TERMINAL
    from app.platform.db import read_scope

    with read_scope() as session:
        return session.scalar(select(func.count()).select_from(Job).where(Job.status.in_(TERMINAL))) or 0


def counted(ids: dict[int, str], hit: list[tuple[datetime, str]]) -> dict[str, Any]:
    """What became of the jobs, from the database alone."""
    from sqlalchemy import func, select

    from app.models import Artifact, Job, JobEvent
    from app.platform.db import read_scope

    with read_scope() as session:
        done = set(session.scalars(select(Job.id).where(Job.status == "succeeded")))
        everything = session.scalar(select(func.count()).select_from(Job)) or 0
        students = dict(
            session.execute(
                select(Artifact.job_id, func.count())
                .where(Artifact.kind == "student")
                .group_by(Artifact.job_id)
            ).all()
        )
        ends = dict(
            session.execute(
                select(JobEvent.job_id, func.count())
                .where(JobEvent.type.in_(("job.succeeded", "job.failed", "job.cancelled")))
                .group_by(JobEvent.job_id)
            ).all()
        )
        started: dict[str, list[datetime]] = {}
        for job_id, when in session.execute(
            select(JobEvent.job_id, JobEvent.created_at).where(JobEvent.type == "job.running")
        ):
            started.setdefault(job_id, []).append(when)
    sound = {job_id for job_id in done if students.get(job_id) == 1 and ends.get(job_id) == 1}
    recoveries = []
    for when, job_id in hit:
        again = [t for t in started.get(job_id, []) if t > when]
        if again:
            recoveries.append((min(again) - when).total_seconds())
    for job_id in set(ids.values()) - done:
        tell_of(job_id)
    doubled = sum(n > 1 for n in students.values()) + sum(n > 1 for n in ends.values())
    return {
        "submitted": len(ids),
        "finished": len(sound & set(ids.values())),
        "lost": len(set(ids.values()) - done) + len([i for i in done if not students.get(i)]),
        "doubled": doubled + (everything - len(set(ids.values()))),
        "recoveries": len(recoveries),
        "recovery_p50_seconds": round(statistics.median(recoveries), 1) if recoveries else 0.0,
        "recovery_p99_seconds": round(quantile(recoveries, 0.99), 1),
    }


def tell_of(job_id: str) -> None:
    """Print how a lost job was lost."""
    from sqlalchemy import select

    from app.models import Job, JobEvent
    from app.platform.db import read_scope

    with read_scope() as session:
        job = session.get_one(Job, job_id)
        print(f"{job_id}: {job.status}, attempt {job.attempt}, {job.error}")
        for event in session.scalars(
            select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.seq)
        ):
            print(f"    {event.created_at.isoformat()} {event.type} {event.data}")


def quantile(values: list[float], share: float) -> float:
    """The value that `share` of them do not exceed; 0 of none."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def play(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The whole run; what was counted in the end."""
    rng = random.Random(options.seed)
    stack = Stack(
        folder,
        full=options.stack == "full",
        workers=options.workers,
        runner=options.runner,
        short=options.short,
        remote=options.remote,
    )
    try:
        wait_until_ready(stack.url)
        spec = ENGINE_SPEC
        if options.runner == "light":
            spec = {"student": {"architecture": "mlp8"}, "metadata": {"pause": str(options.pause)}}
        submitter = Submitter(stack.url, spec, options.jobs, stack.headers)
        submitter.start()
        faults = Faults(stack, rng, 5.0 if options.short else 65.0)
        begun = progressed = time.monotonic()
        seen, told = 0, begun
        next_fault = begun + rng.expovariate(1 / options.every)
        while True:
            time.sleep(0.1)
            now = time.monotonic()
            stack.keep_alive()
            faults.wake()
            injecting = (
                now - begun < options.seconds if options.kills is None else faults.kills < options.kills
            )
            if injecting and now >= next_fault:
                faults.inject()
                next_fault = time.monotonic() + rng.expovariate(1 / options.every)
            with contextlib.suppress(Exception):  # the database may be down just now
                if (count := ended()) != seen:
                    seen, progressed = count, now
            if now - told > 30:
                told = now
                print(
                    f"{now - begun:.0f} s: {len(submitter.ids)} taken, {seen} ended, {faults.count}"
                    f" {submitter.refusals}",
                    flush=True,
                )
            complete = len(submitter.ids) == options.jobs and seen >= options.jobs
            if (complete and not injecting) or now - progressed > PATIENCE_SECONDS:
                break
            if complete and injecting and options.kills is not None:
                break  # nothing is left that a kill could hit; the count says how many there were
        wait_for_database()
        seconds = round(time.monotonic() - begun, 1)
        found = counted(submitter.ids, faults.hit)
        left = {} if options.short else left_behind(stack)
        return {
            **found,
            "left_behind": left,
            "kills": faults.kills,
            "faults": faults.count,
            "seconds": seconds,
        }
    finally:
        stack.close()


def wait_for_database() -> None:
    """A fault may just have taken it down."""
    for _ in range(60):
        with contextlib.suppress(Exception):
            ended()
            return
        time.sleep(0.5)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--stack", default="embedded", choices=("embedded", "full"))
    parser.add_argument("--runner", default="light", choices=("light", "engine"))
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60, help="how long faults are injected")
    parser.add_argument("--kills", type=int, help="in the place of seconds: until so many")
    parser.add_argument("--every", type=float, default=1.0, help="mean seconds between two faults")
    parser.add_argument("--pause", type=float, default=0.1, help="seconds that a light job takes")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--short", action="store_true", help="leases of seconds instead of a minute")
    parser.add_argument("--remote", action="store_true", help="workers that reach the server alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-record", action="store_true", help="print alone")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run, print, append; 1 if anything was lost, doubled or left behind."""
    options = parse(arguments)
    with tempfile.TemporaryDirectory(prefix="dfad-chaos-") as folder:
        try:
            found = play(options, Path(folder))
        except ServiceMissing as error:
            print(f"benchmarks.chaos: {error}", file=sys.stderr)
            return 2
    if not options.no_record:
        about = {
            "benchmark": "chaos",
            "settings": {k: v for k, v in vars(options).items() if k != "no_record"},
        }
        append(FILE, {**about, **found}, torch.device("cpu"))
    left = found["left_behind"]
    rest = sum(number for name, number in left.items() if name != "young_blobs")
    if left:
        print(f"left behind: {left}; the row of a young blob may come within a day")
    print(
        f"CHAOS submitted={found['submitted']} finished={found['finished']} lost={found['lost']} "
        f"doubled={found['doubled']} {f'left={rest} ' if left else ''}kills={found['kills']} "
        f"recovery_p50_seconds={found['recovery_p50_seconds']} "
        f"recovery_p99_seconds={found['recovery_p99_seconds']}"
    )
    return int(found["lost"] + found["doubled"] + rest > 0 or found["submitted"] != options.jobs)


if __name__ == "__main__":
    sys.exit(main())
