"""`dfad doctor` and `dfad events`: looking without changing anything."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from dfad_client.commands.jobs import JobId
from dfad_client.commands.shared import Exit, Session
from dfad_client.errors import ApiError, ConnectionFailed

MEGABYTES = 10**6
ROOM_MEGABYTES = 1000
#: What the server tells of; it is not known while there is none.
PARTS = ("database", "worker", "broker", "storage", "gpu")
UNKNOWN = "unknown"
PATIENCE_SECONDS = 10.0
ADVICE = {
    "server": "Start one with `dfad up`, or name another with --url, DFAD_BASE_URL or --profile.",
    "key": "The server wants another key: DFAD_API_KEY, or `api_key` in the profile.",
    "database": "Start PostgreSQL, or look at DFAD_DATABASE_URL; then `python -m app.migrate`.",
    "broker": "Start Redis, or look at DFAD_BROKER_URL. No job is lost meanwhile: it is sent again.",
    "worker": "Start one with `python -m worker`, with the server's DFAD_DATABASE_URL and DFAD_BROKER_URL.",
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
    """Say what works and what to do about the rest: server, database, broker, worker, GPU, disk."""
    address, found, down = _server(session)
    found["disk"] = _disk(home)
    faults = [part for part, state in found.items() if state not in ("ok", UNKNOWN) and part not in NO_FAULT]
    advice = {p: ADVICE[p] for p, state in found.items() if state not in ("ok", UNKNOWN) and p in ADVICE}
    lines = [address]
    for part, state in found.items():
        lines.append(f"  {part:9} {state}{'  ' + advice[part] if part in advice else ''}")
    session.tell(
        {"url": address, "checks": found, "advice": advice},
        essential="\n".join(faults),
        human="\n".join(lines),
    )
    if down:
        raise typer.Exit(Exit.NO_CONNECTION)
    if faults:
        raise typer.Exit(Exit.CANNOT_START)


def _server(session: Session) -> tuple[str, dict[str, str], bool]:
    """Its address, what it says of itself, and whether there is none."""
    with session.connected(timeout_seconds=PATIENCE_SECONDS) as client:
        try:
            found = {"server": "ok", **client.readiness()}
        except ConnectionFailed as error:
            return client.base_url, {"server": str(error), **dict.fromkeys(PARTS, UNKNOWN)}, True
        if found.get("database") != "ok":
            return client.base_url, {**found, "gpu": UNKNOWN}, False
        try:
            devices = client.capabilities().get("devices", [])
        except ApiError as error:
            # What the workers have is told to those alone who have a key.
            refused = {"key": str(error)} if error.status in (401, 403) else {}
            return client.base_url, {**found, **refused, "gpu": UNKNOWN}, False
        found["gpu"] = "ok" if "cuda" in devices else "none"
        return client.base_url, found, False


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
