"""`dfad inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dfad_client.answers import Teacher
from dfad_client.commands.notices import Notices
from dfad_client.commands.options import TEACHER_OUTPUT, Architecture, Input, Mean, Std, Weights
from dfad_client.commands.shared import Exit, Session
from dfad_client.commands.spec import UsageError, teacher_part
from dfad_client.commands.submit import IN_PARTS_BYTES, send
from dfad_client.folders import one_file
from dfad_client.sync.client import Client
from dfad_client.terminal import display


def inspect(
    session: Session,
    teacher: Annotated[str, typer.Argument(metavar="TEACHER", help="A model's file or folder, or tch_…")],
    architecture: Architecture = None,
    weights: Weights = None,
    input: Input = None,
    mean: Mean = None,
    std: Std = None,
    output: Annotated[
        str | None, typer.Option("--teacher-output", "--output", metavar="NAME", help=TEACHER_OUTPUT)
    ] = None,
) -> None:
    """Say what a teacher is, which methods suit it, and which students it could have.

    A file is sent to the server and stays there: name its id in `dfad submit`. Exit code 1 if it is rejected.
    """
    spec = teacher_part(architecture, weights, input, mean, std, output)
    with session.connected(patient=True) as client:
        known = teacher.startswith("tch_") and not Path(teacher).exists()
        teacher_id = teacher if known else _sent(client, Path(teacher), spec or None, session)
        notices = Notices(session.note)
        found = client.teachers.wait(teacher_id, on_wait=lambda teacher: notices(teacher.waiting_for))
    session.tell(found.raw, essential=found.id, human="\n".join(_lines(found)))
    if found.status != "ready":
        raise typer.Exit(Exit.JOB_FAILED)


def _sent(client: Client, path: Path, spec: dict[str, Any] | None, session: Session) -> str:
    if not path.exists():
        raise UsageError(f"there is no file {path}")
    with one_file(path) as file:
        if file.stat().st_size < IN_PARTS_BYTES:
            return client.teachers.create(file, spec=spec).id
        return client.teachers.create(upload_id=send(client, file, session), spec=spec).id


def _lines(teacher: Teacher) -> list[str]:
    if teacher.error is not None:
        return [f"{teacher.id}: rejected ({teacher.error.code}: {teacher.error.message})"]
    return [f"{teacher.id}: {teacher.status}", *display.inspection(teacher.inspection or {})]
