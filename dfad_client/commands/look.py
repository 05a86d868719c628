"""`dfad doctor` and `dfad events`: looking without changing anything."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from dfad_client.commands.shared import AsJson, Exit, Url, connected, explained

MEGABYTES = 10**6
ROOM_MEGABYTES = 1000
ADVICE = {
    "database": "Start PostgreSQL, or look at DFAD_DATABASE_URL; then `python -m app.migrate`.",
    "broker": "Start Redis, or look at DFAD_BROKER_URL. No job is lost meanwhile: it is sent again.",
    "worker": "Start one with `python -m worker`, with the server's DFAD_DATABASE_URL and DFAD_BROKER_URL.",
    "gpu": "Jobs run on processors. For a GPU, start a worker where torch sees one.",
    "disk": "Make room: students and checkpoints are written there.",
}


def doctor(
    url: Url = None,
    home: Annotated[
        Path, typer.Option(envvar="DFAD_HOME", help="The folder of all data, if it is on this machine.")
    ] = Path(".dfad"),
    as_json: AsJson = False,
) -> None:
    """Say what works and what to do about the rest: server, database, broker, worker, GPU, disk."""
    with explained(as_json), connected(url) as client:
        found = {"server": "ok", **client.readiness()}
        address = client.base_url
        devices = client.capabilities()["devices"]
    found["gpu"] = "ok" if "cuda" in devices else "none"
    folder = next(path for path in (home.absolute(), *home.absolute().parents) if path.exists())
    free = shutil.disk_usage(folder).free // MEGABYTES
    writable = os.access(folder, os.W_OK)
    found["disk"] = "ok" if writable and free >= ROOM_MEGABYTES else f"{free} MB free"
    if not writable:
        found["disk"] = "cannot be written"
    # A machine without a GPU is in order.
    faults = [part for part, state in found.items() if state != "ok" and part != "gpu"]
    if as_json:
        advice = {part: ADVICE[part] for part in (*faults, "gpu") if part in ADVICE and found[part] != "ok"}
        typer.echo(json.dumps({"url": address, "checks": found, "advice": advice}))
    else:
        typer.echo(address)
        for part, state in found.items():
            hint = f"  {ADVICE[part]}" if state != "ok" and part in ADVICE else ""
            typer.echo(f"  {part:9} {state}{hint}")
    if faults:
        raise typer.Exit(Exit.CANNOT_START)


def events(
    job_id: Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")],
    follow: Annotated[bool, typer.Option(help="Until the job ends.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """The job's log, a line an event; with --follow as it grows."""
    with explained(as_json), connected(url, patient=True) as client:
        for event in client.jobs.stream(job_id) if follow else client.jobs.events(job_id):
            if as_json:
                body = {"seq": event.seq, "type": event.type, "created_at": event.created_at}
                typer.echo(json.dumps({**body, "data": event.data}))
            else:
                shown = json.dumps(event.data) if event.data else ""
                typer.echo(f"{event.seq:6} {event.created_at} {event.type} {shown}")
