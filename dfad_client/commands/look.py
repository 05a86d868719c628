"""`dfad doctor` and `dfad events`: looking without changing anything."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from dfad_client.answers import Worker
from dfad_client.commands.jobs import JobId
from dfad_client.commands.shared import Exit, Session
from dfad_client.errors import ApiError, ConnectionFailed

MEGABYTES = 10**6
ROOM_MEGABYTES = 1000
#: What the server tells of; it is not known while there is none.
PARTS = ("database", "worker", "broker", "storage", "queue", "gpu")
UNKNOWN = "unknown"
PATIENCE_SECONDS = 10.0
ADVICE = {
    "server": "Start one with `dfad up`, or name another with --url, DFAD_BASE_URL or --profile.",
    "key": "The server wants another key: DFAD_API_KEY, or `api_key` in the profile.",
    "database": "Start PostgreSQL, or look at DFAD_DATABASE_URL; then `python -m app.migrate`.",
    "broker": "Start Redis, or look at DFAD_BROKER_URL. No job is lost meanwhile: it is sent again.",
    "worker": "Start one with `python -m worker`, with the server's DFAD_DATABASE_URL and DFAD_BROKER_URL.",
    "queue": "Start a worker that takes it: where torch sees a GPU, or with another DFAD_WORKER_DEVICES.",
    "storage": "Look at DFAD_ARTIFACT_STORE and what it names: the server cannot reach it or write to it.",
    "gpu": "Jobs run on processors. For a GPU, start a worker where torch sees one.",
    "disk": "Make room: students and checkpoints are written there.",
}
#: A machine without a GPU is in order.
NO_FAULT = {"gpu"}


def doctor(
    session: Session,
    home: Annotated[
        Path, typer.Option(envvar="DFAD_HOME", help="The folder of all data, if it is on this machine.")
    ] = Path(".dfad"),
) -> None:
    """Say what works and what to do about the rest: server, database, broker, workers, queue, GPU, disk."""
    address, found, workers, down = _server(session)
    found["disk"] = _disk(home)
    faults = [part for part, state in found.items() if state not in ("ok", UNKNOWN) and part not in NO_FAULT]
    advice = {p: ADVICE[p] for p, state in found.items() if state not in ("ok", UNKNOWN) and p in ADVICE}
    lines = [address]
    for part, state in found.items():
        lines.append(f"  {part:9} {state}{'  ' + advice[part] if part in advice else ''}")
        lines += [f"            {_worker_line(worker)}" for worker in workers if part == "worker"]
    session.tell(
        {"url": address, "checks": found, "advice": advice, "workers": workers},
        essential="\n".join(faults),
        human="\n".join(lines),
    )
    if down:
        raise typer.Exit(Exit.NO_CONNECTION)
    if faults:
        raise typer.Exit(Exit.CANNOT_START)


def _server(session: Session) -> tuple[str, dict[str, str], list[Worker], bool]:
    """Its address, what it says of itself, its workers, and whether there is none."""
    with session.connected(timeout_seconds=PATIENCE_SECONDS) as client:
        try:
            found = {"server": "ok", **client.readiness()}
        except ConnectionFailed as error:
            return client.base_url, {"server": str(error), **dict.fromkeys(PARTS, UNKNOWN)}, [], True
        unknown = dict.fromkeys(("queue", "gpu"), UNKNOWN)
        if found.get("database") != "ok":
            return client.base_url, {**found, **unknown}, [], False
        try:
            about = client.capabilities()
        except ApiError as error:
            # What the workers have is told to those alone who have a key.
            refused = {"key": str(error)} if error.status in (401, 403) else {}
            return client.base_url, {**found, **refused, **unknown}, [], False
        found["queue"] = _queue(about.get("waiting_without_worker", {}))
        found["gpu"] = "ok" if "cuda" in about.get("devices", []) else "none"
        return client.base_url, found, about.get("workers", []), False


def _queue(waiting: dict[str, int]) -> str:
    """Whether there is a worker for each job that waits."""
    jobs = [f"{number} job{'s' * (number != 1)} of device {device}" for device, number in waiting.items()]
    return f"no living worker takes {' and '.join(jobs)}" if jobs else "ok"


def _worker_line(worker: Worker) -> str:
    """Who it is, what it computes on, and how long ago it gave a sign of life."""
    age = f"{worker.get('seen_seconds_ago', 0):.0f} s"
    state = f"alive, seen {age} ago" if worker.get("alive") else f"silent for {age}"
    words = [worker.get("name") or "a worker", ",".join(worker.get("devices", [])), state]
    if threads := worker.get("threads"):
        words.append(f"{threads} thread{'s' * (threads != 1)}")
    if version := worker.get("version"):
        revision = worker.get("revision")
        words.append(f"{version} ({revision[:12]})" if revision else version)
    return "  ".join(filter(None, words))


def _disk(home: Path) -> str:
    """Of the folder that is there, on the way to `home`."""
    folder = next(path for path in (home.absolute(), *home.absolute().parents) if path.exists())
    if not os.access(folder, os.W_OK):
        return f"{folder} cannot be written"
    free = shutil.disk_usage(folder).free // MEGABYTES
    return "ok" if free >= ROOM_MEGABYTES else f"{free} MB free in {folder}"


def events(
    session: Session,
    job_id: JobId,
    follow: Annotated[bool, typer.Option(help="Until the job ends.")] = False,
) -> None:
    """The job's log, a line an event; with --follow as it grows."""
    with session.connected(patient=True) as client:
        for event in client.jobs.stream(job_id) if follow else client.jobs.events(job_id):
            body = {"seq": event.seq, "type": event.type, "created_at": event.created_at, "data": event.data}
            shown = json.dumps(event.data) if event.data else ""
            session.tell(
                body,
                essential=event.type,
                human=f"{event.seq:6} {event.created_at} {event.type} {shown}",
            )
