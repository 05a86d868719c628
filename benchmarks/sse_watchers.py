"""Completeness of the event log that watchers receive while their connections are cut at random.

    python -m benchmarks.sse_watchers --database sqlite
    python -m benchmarks.sse_watchers --database postgresql --processes 2

The real server; a job whose events are appended while it is watched; watchers that close, reset or lose their
connections in the middle of anything, directly or behind a proxy that does the same, and come back with
`Last-Event-ID` or `?after=`. Every watcher has to end with all events in order, each once; the exit code is 1
where one has not. Appends one line to benchmarks/results/sse_watchers.jsonl.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.api_load import fill
from benchmarks.record import RESULTS, append
from benchmarks.service.event_streams import PATIENCE_SECONDS, CuttingProxy, Watcher
from testing.services import ServiceMissing
from testing.stack import Stack, wait_until_ready

FILE = RESULTS / "sse_watchers.jsonl"


def running_job() -> str:
    """A job that runs, without a worker; its id."""
    from sqlalchemy import update

    from app.models import Job
    from app.platform.db import session_scope

    (job_id,) = fill(1)
    with session_scope() as session:
        session.execute(update(Job).where(Job.id == job_id).values(status="running", finished_at=None))
    return job_id


class Writer(threading.Thread):
    """Appends events as a worker does, and in the end the last one."""

    def __init__(self, job_id: str, seconds: float, rate: float) -> None:
        super().__init__(name="writer", daemon=True)
        self._job_id, self._seconds, self._rate = job_id, seconds, rate
        self.events = 0

    def run(self) -> None:
        """For `seconds`, at `rate` a second or as fast as the database goes."""
        from sqlalchemy import update

        from app.jobs.events import append_event
        from app.models import Job
        from app.platform.db import session_scope

        begun = time.monotonic()
        while (late := time.monotonic() - begun) < self._seconds:
            time.sleep(max(0.0, self.events / self._rate - late))
            with session_scope() as session:
                self.events = append_event(session, self._job_id, "progress", {"step": self.events})
        with session_scope() as session:
            session.execute(update(Job).where(Job.id == self._job_id).values(status="succeeded"))
            self.events = append_event(session, self._job_id, "job.succeeded", {"status": "succeeded"})


async def watch(stack: Stack, job_id: str, options: argparse.Namespace) -> tuple[list[Watcher], int]:
    """All watchers to their end; they, and how many events there were."""
    chance = random.Random(options.seed)
    proxy = CuttingProxy(stack.port, random.Random(options.seed + 1))
    ports = (stack.port, await proxy.start())
    watchers = [Watcher(job_id, ports, random.Random(chance.random())) for _ in range(options.watchers)]
    writer = Writer(job_id, options.seconds, options.rate)
    writer.start()
    tasks = [asyncio.create_task(watcher.watch()) for watcher in watchers]
    done, late = await asyncio.wait(tasks, timeout=options.seconds + PATIENCE_SECONDS)
    for task in late:
        task.cancel()
    await proxy.close()
    writer.join(timeout=PATIENCE_SECONDS)
    for task in done:
        task.result()  # an error of the watcher's own is no result
    return watchers, writer.events


def judged(watchers: list[Watcher], events: int) -> dict[str, int]:
    """What they saw beside what there was."""
    every = set(range(1, events + 1))
    return {
        "watchers": len(watchers),
        "cuts": sum(w.cuts for w in watchers),
        "events": events,
        "whole": sum(w.seen == list(range(1, events + 1)) for w in watchers),
        "gaps": sum(len(every - set(w.seen)) for w in watchers),
        "doubles": sum(len(w.seen) - len(set(w.seen)) for w in watchers),
        "garbled": sum(w.garbled for w in watchers),
        "left_alone": sum(w.left_alone for w in watchers),
        "refused": sum(w.refused for w in watchers),
    }


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Everything; the figures."""
    more = {"DFAD_SERVER_PROCESSES": str(options.processes), "DFAD_LOG_LEVEL": "warning"}
    stack = Stack(folder / "sse", full=options.database == "postgresql", more=more)
    try:
        wait_until_ready(stack.url)
        job_id = running_job()
        begun = time.monotonic()
        watchers, events = asyncio.run(watch(stack, job_id, options))
        return {**judged(watchers, events), "seconds": round(time.monotonic() - begun, 1)}
    finally:
        stack.close()


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sse_watchers", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--database", default="sqlite", choices=("sqlite", "postgresql"))
    parser.add_argument("--processes", type=int, default=1, help="of the server")
    parser.add_argument("--watchers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60, help="for which events are appended")
    parser.add_argument("--rate", type=float, default=20, help="events a second")
    parser.add_argument("--seed", type=int, default=0, help="of the cuts")
    parser.add_argument("--no-record", action="store_true", help="print alone")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run, append, print."""
    options = parse(arguments)
    with tempfile.TemporaryDirectory(prefix="dfad-sse-") as folder:
        try:
            found = run(options, Path(folder))
        except ServiceMissing as error:
            print(f"benchmarks.sse_watchers: {error}", file=sys.stderr)
            return 2
    if not options.no_record:
        settings = {k: v for k, v in vars(options).items() if k != "no_record"}
        append(FILE, {"benchmark": "sse_watchers", "settings": settings, **found}, torch.device("cpu"))
    print("SSE", *(f"{name}={value}" for name, value in found.items()))
    whole = found["whole"] == found["watchers"] and not found["garbled"] and not found["left_alone"]
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
