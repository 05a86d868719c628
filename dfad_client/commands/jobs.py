"""`dfad list, show, cancel, pause, resume, rerun`."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated

import typer

from dfad_client.answers import Job
from dfad_client.commands import manifests
from dfad_client.commands.shared import Exit, Session
from dfad_client.commands.spec import UsageError, pairs
from dfad_client.terminal import display
from dfad_client.terminal.completion import complete_job

ALL_TENANTS = "*"
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.", autocompletion=complete_job)]


def list_jobs(
    session: Session,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    status: Annotated[str | None, typer.Option(help="Only these, e.g. running.")] = None,
    metadata: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only with this; several are allowed.")
    ] = None,
    all_tenants: Annotated[
        bool, typer.Option("--all-tenants", help="For the operator: of all tenants, as --tenant '*'.")
    ] = False,
) -> None:
    """List jobs, newest first."""
    if all_tenants and session.tenant not in (None, ALL_TENANTS):
        raise UsageError("Give either --tenant or --all-tenants.")
    all_tenants = all_tenants or session.tenant == ALL_TENANTS
    labels = pairs(metadata or [], "--metadata")
    with session.connected(tenant=ALL_TENANTS if all_tenants else None) as client:
        found = client.jobs.list(status=status, metadata=labels, page_size=min(limit, 100))
        jobs = list(itertools.islice(found, limit))
    if not jobs:
        session.note("No jobs.")
    session.tell(
        {"data": [job.raw for job in jobs]},
        essential="\n".join(job.id for job in jobs),
        human="\n".join(display.table(jobs, tenants=all_tenants)) if jobs else "",
    )


def show(session: Session, job_id: JobId) -> None:
    """Show one job."""
    with session.connected() as client:
        show_job(session, client.jobs.retrieve(job_id))


def show_job(session: Session, job: Job) -> None:
    """A job in the session's form."""
    session.tell(job.raw, essential=job.status, human="\n".join(display.summary(job)))


def cancel(session: Session, job_id: JobId) -> None:
    """Ask for a job's end. What it has trained so far is kept."""
    with session.connected() as client:
        _changed(session, client.jobs.cancel(job_id))


def pause(session: Session, job_id: JobId) -> None:
    """Hold a job: its worker goes free, its deadline stands still."""
    with session.connected() as client:
        _changed(session, client.jobs.pause(job_id))


def resume(session: Session, job_id: JobId) -> None:
    """Queue a paused job again; it goes on from its checkpoint."""
    with session.connected() as client:
        _changed(session, client.jobs.resume(job_id))


def _changed(session: Session, job: Job) -> None:
    session.tell(job.raw, essential=job.status, human=display.verdict(job))


def rerun(
    session: Session,
    source: Annotated[
        str,
        typer.Argument(
            metavar="JOB|MANIFEST", help="A job's id, or its manifest.json.", autocompletion=complete_job
        ),
    ],
    teacher: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The manifest's teacher, if the server has it not.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="With a manifest: compare the students.")] = False,
) -> None:
    """Start a new job with the teacher and the spec of another, here or from its manifest."""
    manifest = None
    with session.connected(patient=wait) as client:
        if Path(source).is_file():
            manifest = manifests.Manifest.read(Path(source))
            job = manifests.run_again(client, manifest, teacher)
        else:
            job = client.jobs.rerun(source)
        if wait:
            job = client.jobs.wait(job.id)
            if manifest is not None and job.succeeded:
                session.note(manifests.verdict(client, manifest, job))
    session.tell(job.raw, essential=job.id, human=job.id)
    if wait and not job.succeeded:
        raise typer.Exit(Exit.JOB_FAILED)
