"""`dfad measure`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dfad_client.commands.jobs import JobId, show_job
from dfad_client.commands.shared import Exit, Session
from dfad_client.commands.submit import send


def measure(
    session: Session,
    job_id: JobId,
    data: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="Labelled images (npz, zip of class folders, parquet).",
        ),
    ],
    wait: Annotated[bool, typer.Option("--wait", help="Until the figures are there.")] = False,
) -> None:
    """Measure accuracy after a job's end: of its teacher, its student and each export, on your images."""
    with session.explained(
        f"The measurement goes on; see it with: dfad show {job_id}{session.tenant_option}"
    ):
        with session.connected(patient=wait) as client:
            job = client.jobs.measure(job_id, upload_id=send(client, data, session))
            if wait:
                job = client.jobs.wait_measured(job_id)
        show_job(session, job)
    if job.measurement is not None and job.measurement.status == "failed":
        raise typer.Exit(Exit.JOB_FAILED)
