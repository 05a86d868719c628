"""`dfad download`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dfad_client.commands.jobs import JobId
from dfad_client.commands.shared import Session
from dfad_client.commands.spec import UsageError
from dfad_client.terminal import display
from dfad_client.terminal.bars import transfer
from dfad_client.terminal.completion import complete_format


def download(
    session: Session,
    job_id: JobId,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="[default: the job's id and an ending]"),
    ] = None,
    kind: Annotated[str, typer.Option(help="student, report, manifest or samples (the newest).")] = "student",
    format: Annotated[
        str, typer.Option(help="The student's, one of the job's exports.", autocompletion=complete_format)
    ] = "safetensors",
) -> None:
    """Fetch the student, verified against its SHA-256."""
    with session.connected() as client:
        if kind == "student":
            artifact = client.jobs.student(job_id, format=format)
        else:
            found = [a for a in client.jobs.artifacts(job_id) if a.kind == kind]
            if not found:
                raise UsageError(f"{job_id} has no artifact of kind {kind!r} (yet)")
            artifact = found[-1]
        suffix = "".join(Path(artifact.filename or "").suffixes)
        name = job_id + ("" if kind == "student" else f".{kind}") + suffix
        target = output or Path(name)
        with transfer(target.name, quiet=session.quiet or session.as_json) as listener:
            path = client.jobs.download(artifact, target, on_progress=listener)
        cautions: list[str] = []
        if kind == "student" and format != "safetensors" and (result := client.jobs.retrieve(job_id).result):
            cautions = display.caution((result.get("exports") or {}).get(format))
    note = " (partial: the job did not run to its end)" if artifact.partial else ""
    session.tell(
        {"path": str(path), "artifact": artifact.raw},
        essential=str(path),
        human="\n".join([f"{path}: {artifact.bytes} bytes{note}", *cautions]),
    )
