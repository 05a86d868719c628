"""`dfad inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dfad_client.answers import Teacher
from dfad_client.commands.notices import Notices
from dfad_client.commands.options import Architecture, Weights
from dfad_client.commands.shared import Exit, Session
from dfad_client.commands.spec import UsageError
from dfad_client.commands.submit import IN_PARTS_BYTES, send
from dfad_client.folders import one_file
from dfad_client.sync.client import Client
from dfad_client.terminal import display


def inspect(
    session: Session,
    teacher: Annotated[str, typer.Argument(metavar="TEACHER", help="A model's file or folder, or tch_…")],
    architecture: Architecture = None,
    weights: Weights = None,
) -> None:
    """Say what a teacher is, which methods suit it, and which students it could have.

    A file is sent to the server and stays there: name its id in `dfad submit`. Exit code 1 if it is rejected.
    """
    with session.connected(patient=True) as client:
        known = teacher.startswith("tch_") and not Path(teacher).exists()
        teacher_id = (
            teacher
            if known
            else _sent(client, Path(teacher), session, architecture=architecture, weights=weights)
        )
        notices = Notices(session.note)
        found = client.teachers.wait(teacher_id, on_wait=lambda teacher: notices(teacher.waiting_for))
    session.tell(found.raw, essential=found.id, human="\n".join(_lines(found)))
    if found.status != "ready":
        raise typer.Exit(Exit.JOB_FAILED)


def _sent(
    client: Client, path: Path, session: Session, *, architecture: str | None, weights: str | None
) -> str:
    if not path.exists():
        raise UsageError(f"there is no file {path}")
    given = {"architecture": architecture, "weights": weights}
    spec = {name: value for name, value in given.items() if value is not None} or None
    with one_file(path) as file:
        if file.stat().st_size < IN_PARTS_BYTES:
            return client.teachers.create(file, spec=spec).id
        return client.teachers.create(upload_id=send(client, file, session), spec=spec).id


def _lines(teacher: Teacher) -> list[str]:
    if teacher.error is not None:
        return [f"{teacher.id}: rejected ({teacher.error.code}: {teacher.error.message})"]
    return [f"{teacher.id}: {teacher.status}", *display.inspection(teacher.inspection or {})]
