"""`dfad watch`, and what `submit --wait` does after submitting."""

from __future__ import annotations

import json
import time
from typing import NoReturn

import typer

from dfad_client.commands.jobs import JobId, show_job
from dfad_client.commands.notices import Notices
from dfad_client.commands.shared import Exit, Session
from dfad_client.sync.client import Client
from dfad_client.terminal.watch import Watch

LOOK_SECONDS = 0.5


def watch(session: Session, job_id: JobId) -> None:
    """Follow a job to its end, with its curves on a terminal. With --json: one event a line, then the job."""
    with session.connected() as client:
        client.jobs.retrieve(job_id)
    follow(session, job_id, every_event=session.as_json)


def follow(session: Session, job_id: str, *, every_event: bool) -> NoReturn:
    """Show a job until its end, say how it ended, and exit accordingly.

    A connection that breaks is taken up again where it was, for as long as a server takes to start again.
    """
    with session.explained(f"The job goes on; see it again with: dfad watch {job_id}{session.tenant_option}"):
        with (
            Watch(quiet=session.as_json or session.quiet) as shown,
            session.connected(patient=True, on_wait=shown.waiting) as client,
        ):
            if not (session.quiet or session.as_json):
                _until_it_begins(client, job_id, shown)
            for event in client.jobs.stream(job_id):
                shown.show(event)
                if every_event:
                    body = {"seq": event.seq, "type": event.type, "created_at": event.created_at}
                    typer.echo(json.dumps({**body, "data": event.data}))
            job = client.jobs.retrieve(job_id)
        show_job(session, job)
    raise typer.Exit(Exit.OK if job.succeeded else Exit.JOB_FAILED)


def _until_it_begins(client: Client, job_id: str, shown: Watch) -> None:
    """Say what a queued job waits for: its events, which come afterwards, tell of changes alone."""
    notices = Notices(shown.waits_for)
    while (job := client.jobs.retrieve(job_id)).status == "queued":
        notices(job.waiting_for)
        time.sleep(LOOK_SECONDS)
