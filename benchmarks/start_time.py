"""Seconds from the claim of a job to its first training step, in a warm worker.

    python -m benchmarks.start_time

A real worker on SQLite runs small jobs one after the other; the first warms it up and does not count. Times
are those of the jobs' own events. Appends one line to benchmarks/results/start_time.jsonl.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx
import torch

from benchmarks.chaos import ENGINE_SPEC, TEACHER
from benchmarks.record import RESULTS, append
from testing.stack import Stack, wait_until_ready

FILE = RESULTS / "start_time.jsonl"
WAIT_SECONDS = 120.0


def started(client: httpx.Client, spec: dict[str, object], teacher_id: str) -> float:
    """Seconds from claim to the first step of one job."""
    job = client.post("/jobs", json={**spec, "teacher_id": teacher_id}).json()
    deadline = time.monotonic() + WAIT_SECONDS
    while not client.get(f"/jobs/{job['id']}", headers={"Prefer": "wait=10"}).json()["terminal"]:
        if time.monotonic() > deadline:
            raise RuntimeError("the job does not end")
    events = client.get(f"/jobs/{job['id']}/events?limit=1000").json()["data"]
    from datetime import datetime

    at = {e["type"]: datetime.fromisoformat(e["created_at"]) for e in reversed(events)}
    return (at["progress"] - at["job.running"]).total_seconds()


def main(arguments: list[str] | None = None) -> int:
    """Run, print, append."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start_time", description=__doc__)
    parser.add_argument("--jobs", type=int, default=10)
    parser.add_argument("--no-record", action="store_true", help="print alone")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="dfad-start-") as folder:
        stack = Stack(Path(folder), full=False, workers=1, runner="engine")
        try:
            wait_until_ready(stack.url)
            with httpx.Client(base_url=stack.url, timeout=60) as client:
                files = {"teacher": ("t.safetensors", TEACHER.read_bytes())}
                teacher_id = client.post("/teachers", files=files).json()["id"]
                seconds = [started(client, ENGINE_SPEC, teacher_id) for _ in range(options.jobs + 1)][1:]
        finally:
            stack.close()
    found = {
        "jobs": options.jobs,
        "median_seconds": round(statistics.median(seconds), 3),
        "most": round(max(seconds), 3),
    }
    if not options.no_record:
        append(FILE, {"benchmark": "start_time", **found}, torch.device("cpu"))
    print(f"START jobs={options.jobs} median_seconds={found['median_seconds']} most={found['most']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
