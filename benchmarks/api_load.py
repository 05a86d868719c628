"""Speed of the API: polling beside MLflow, listing, event streams, large files.

    python -m benchmarks.api_load --database sqlite --mlflow /path/to/mlflow
    python -m benchmarks.api_load --database postgresql --mlflow /path/to/mlflow

Polling: `GET /jobs/{id}` and MLflow's get-run in turn, each as fast as it goes and then at half of that;
medians of several turns.
Listing: a page of 20 with 1,000 and with 100,000 jobs in the table. Streams: many watchers of one job.
Files: one up and down again, beside writing or reading and hashing the same bytes on the same disk. Appends
one line to benchmarks/results/api_load.jsonl. `--mlflow` is the program of an installation of its own
(`python -m venv … && pip install mlflow psycopg2-binary`); without it that part is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import RESULTS, append
from benchmarks.service.bytes_load import MIB, measure
from benchmarks.service.load import Load, load
from benchmarks.service.mlflow_server import Mlflow, version
from testing.services import Postgres, ServiceMissing
from testing.stack import Stack, wait_until_ready

FILE = RESULTS / "api_load.jsonl"
CONNECTIONS = 16
POLLED = 100
"""Jobs that are asked for in turn."""


def fill(jobs: int, offset: int = 0, tenant_id: str = "local") -> list[str]:
    """Rows of `jobs` jobs that ended, as many as a service has after months; their ids."""
    from sqlalchemy import insert

    from app.jobs.schemas import JobSpec
    from app.models import Job, Teacher
    from app.platform.db import database_now, session_scope
    from app.platform.ids import new_id

    spec: dict[str, Any] = {"student": {"architecture": "mlp8"}, "metadata": {"team": "vision"}}
    resolved = JobSpec.model_validate(spec).resolved()
    with session_scope() as session:
        now = database_now(session)
        teacher = {"id": new_id("tch"), "tenant_id": tenant_id, "artifact_id": new_id("art")}
        about = {"filename": "t", "status": "ready", "spec": {}, "created_at": now}
        session.execute(insert(Teacher), [teacher | about])
        rows = [
            {
                "id": new_id("job"), "tenant_id": tenant_id, "teacher_id": teacher["id"],
                "status": "succeeded", "run_after": now, "spec": spec, "resolved_spec": resolved,
                "labels": spec["metadata"], "created_at": now, "started_at": now, "finished_at": now,
                "step": 2000, "total_steps": 2000, "metrics": {f"m{n}": 0.5 for n in range(5)},
                "result": {"compression": 4.0}, "last_seq": 0, "attempt": 1, "fence": 1, "priority": 0,
                "device": "auto", "paused_seconds": 0.0, "keep": False,
            }
            for _ in range(offset, jobs)
        ]  # fmt: skip
        for begin in range(0, len(rows), 5000):
            session.execute(insert(Job), rows[begin : begin + 5000])
    return [row["id"] for row in rows[:POLLED]]


def _about(found: Load) -> dict[str, float]:
    return {
        "per_second": round(found.per_second, 1),
        "p50_ms": round(found.quantile_ms(0.5), 2),
        "p99_ms": round(found.quantile_ms(0.99), 2),
        "errors": found.errors,
    }


TURNS = 5


def polling(stack: Stack, ids: list[str], mlflow: Mlflow | None, seconds: float) -> dict[str, Any]:
    """Both servers by turns, each as fast as it goes and at once at half of that; medians over the turns.

    On a machine whose speed changes from minute to minute, half of what went before says nothing later.
    """
    servers = {"dfad": (stack.port, [f"/jobs/{job_id}" for job_id in ids])}
    if mlflow is not None:
        servers["mlflow"] = (mlflow.port, [mlflow.run_path()])
    most: dict[str, list[float]] = {name: [] for name in servers}
    half: dict[str, list[dict[str, float]]] = {name: [] for name in servers}
    for turn in range(TURNS + 1):
        for name, (port, paths) in servers.items():
            found = load("127.0.0.1", port, paths, connections=CONNECTIONS, seconds=seconds if turn else 3)
            if not turn:  # to warm up
                continue
            most[name].append(found.per_second)
            rate = found.per_second / 2
            calm = load("127.0.0.1", port, paths, connections=2 * CONNECTIONS, seconds=seconds, rate=rate)
            half[name].append(_about(calm))
    rates = {name: statistics.median(values) for name, values in most.items()}
    result: dict[str, Any] = {
        "per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "at_half": {name: _medians(turns) for name, turns in half.items()},
        "at_half_p99_ms_by_turn": {name: [t["p99_ms"] for t in turns] for name, turns in half.items()},
    }
    if mlflow is not None:
        result["times_mlflow"] = round(rates["dfad"] / rates["mlflow"], 2)
    return result


def _medians(turns: list[dict[str, float]]) -> dict[str, float]:
    return {key: round(statistics.median(turn[key] for turn in turns), 2) for key in turns[0]}


def listing(stack: Stack, seconds: float, jobs: int) -> dict[str, Any]:
    """A page with few jobs in the table and with many; the table has the few already."""
    paths = ["/jobs?limit=20", "/jobs?limit=20&status=succeeded"]

    def median() -> float:
        found = load("127.0.0.1", stack.port, paths, connections=1, seconds=seconds)
        return found.quantile_ms(0.5)

    median()
    few = median()
    fill(jobs, offset=1000)
    median()
    many = median()
    return {"p50_ms_1000": round(few, 2), f"p50_ms_{jobs}": round(many, 2), "ratio": round(many / few, 3)}


def streams(stack: Stack, watchers: int, events: int) -> dict[str, Any]:
    """Every watcher reads all events of one job to its end."""
    import asyncio

    from app.jobs.events import append_event
    from app.platform.db import session_scope

    job_id = fill(1)[0]
    with session_scope() as session:
        for number in range(events - 1):
            append_event(session, job_id, "progress", {"step": number})
        append_event(session, job_id, "job.succeeded", {"status": "succeeded"})
    request = f"GET /jobs/{job_id}/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n".encode()

    async def watch() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
        writer.write(request)
        seen = 0
        while not (line := await reader.readline()).startswith(b"event: job.succeeded"):
            seen += line.startswith(b"id:")
            if not line:
                break
        writer.close()
        return seen

    async def all_of_them() -> list[int]:
        return list(await asyncio.gather(*(watch() for _ in range(watchers))))

    begun = time.perf_counter()
    seen = asyncio.run(all_of_them())
    seconds = time.perf_counter() - begun
    whole = sum(n == events for n in seen)
    return {
        "watchers": watchers,
        "events": events,
        "whole": whole,
        "events_per_second": round(sum(seen) / seconds),
    }


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Everything; the figures."""
    full = options.database == "postgresql"
    found: dict[str, Any] = {}
    with contextlib.ExitStack() as closing:
        stack = Stack(folder / "api", full=full, more={"DFAD_SERVER_PROCESSES": str(options.processes)})
        closing.callback(stack.close)
        wait_until_ready(stack.url)
        ids = fill(1000)
        mlflow = None
        if options.mlflow:
            url = None
            if full:
                other = Postgres()
                closing.callback(other.close)
                url = other.url.replace("+psycopg", "+psycopg2")
            mlflow = Mlflow(options.mlflow, folder / "mlflow", url)
            closing.callback(mlflow.close)
            found["mlflow"] = version(options.mlflow)
        found["polling"] = polling(stack, ids, mlflow, options.seconds)
        if mlflow is not None:
            mlflow.close()
        found["listing"] = listing(stack, options.seconds, options.jobs)
        found["streams"] = streams(stack, options.watchers, 100)
    size = options.mib * MIB
    stores = [("filesystem", size, False), ("database", min(size, 256 * MIB), full)]
    found["files"] = [measure(folder / name, name, size, full=f) for name, size, f in stores]
    return found


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.api_load", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--database", default="sqlite", choices=("sqlite", "postgresql"))
    parser.add_argument("--mlflow", help="the mlflow program of another installation")
    parser.add_argument("--processes", type=int, default=2, help="of our server; MLflow has its default")
    parser.add_argument("--seconds", type=float, default=8, help="of each measurement")
    parser.add_argument("--jobs", type=int, default=100_000, help="in the long list")
    parser.add_argument("--watchers", type=int, default=200)
    parser.add_argument("--mib", type=int, default=1024, help="size of the large file")
    parser.add_argument("--no-record", action="store_true", help="print alone")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run, print, append."""
    import json

    options = parse(arguments)
    with tempfile.TemporaryDirectory(prefix="dfad-load-") as folder:
        try:
            found = run(options, Path(folder))
        except ServiceMissing as error:
            print(f"benchmarks.api_load: {error}", file=sys.stderr)
            return 2
    if not options.no_record:
        settings = {k: v for k, v in vars(options).items() if k not in ("no_record", "mlflow")}
        append(FILE, {"benchmark": "api_load", "settings": settings, **found}, torch.device("cpu"))
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
