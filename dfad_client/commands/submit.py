"""`dfad submit`."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from dfad_client.commands.follow import follow
from dfad_client.commands.options import (
    TEACHER_OUTPUT,
    Architecture,
    EvaluateOn,
    Export,
    Input,
    MaxBytes,
    MaxMacs,
    MaxParameters,
    Mean,
    Method,
    Seed,
    Std,
    Steps,
    Student,
    StudentArg,
    Weights,
)
from dfad_client.commands.shared import Session
from dfad_client.commands.spec import UsageError, build_spec, pairs, part_of, student_args, teacher_part
from dfad_client.folders import one_file
from dfad_client.sync.client import Client
from dfad_client.terminal.bars import transfer

IN_PARTS_BYTES = 32 * 2**20
"""Files from this size on are sent in parts: what breaks off goes on where it was."""


def submit(
    session: Session,
    teacher: Annotated[
        str,
        typer.Argument(metavar="TEACHER", help="A model's file or folder, or tch_… of an earlier one"),
    ],
    architecture: Architecture = None,
    weights: Weights = None,
    input: Input = None,
    mean: Mean = None,
    std: Std = None,
    output: Annotated[
        str | None, typer.Option("--teacher-output", "--output", metavar="NAME", help=TEACHER_OUTPUT)
    ] = None,
    student: Student = None,
    student_arg: StudentArg = None,
    spec: Annotated[str | None, typer.Option(metavar="FILE", help="JSON; - reads standard input.")] = None,
    method: Method = None,
    steps: Steps = None,
    seed: Seed = None,
    max_parameters: MaxParameters = None,
    max_macs: MaxMacs = None,
    max_bytes: MaxBytes = None,
    export: Export = None,
    evaluate_on: EvaluateOn = None,
    init_from: Annotated[
        str | None, typer.Option(metavar="FILE", help="The student's first weights, or art_…")
    ] = None,
    metadata: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="To find the job by; repeatable.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Show progress until the job has ended.")] = False,
) -> None:
    """Send a teacher and start a job. Options override the spec file."""
    known = teacher.startswith("tch_") and not Path(teacher).exists()
    if not known and not Path(teacher).exists():
        raise UsageError(f"there is no file {teacher}")
    body = build_spec(
        spec,
        teacher=teacher_part(architecture, weights, input, mean, std, output),
        student=student,
        args=student_args(student_arg or []),
        method=method,
        steps=steps,
        seed=seed,
        target={"max_parameters": max_parameters, "max_macs": max_macs, "max_bytes": max_bytes},
        exports=export,
        metadata=pairs(metadata or [], "--metadata"),
    )
    with session.connected() as client, _as_file(teacher, known) as file:
        if evaluate_on is not None:
            part_of(body, "evaluation")["upload_id"] = send(client, evaluate_on, session)
        if init_from is not None:
            there = init_from.startswith("art_") and not Path(init_from).exists()
            upload = {} if there else {"upload_id": send(client, Path(init_from), session)}
            part_of(body, "student")["init_from"] = {"artifact_id": init_from} if there else upload
        job = client.jobs.create(**teacher_named(client, file, known, session), spec=body)
    if wait:
        session.note(f"Submitted {job.id}.")
        follow(session, job.id, every_event=False)
    session.tell(job.raw, essential=job.id, human=job.id)
    session.note(f"Submitted. Follow it with: dfad watch {job.id}{session.tenant_option}")


def _as_file(teacher: str, known: bool) -> AbstractContextManager[str | Path]:
    return nullcontext(teacher) if known else one_file(Path(teacher))


def teacher_named(client: Client, teacher: str | Path, known: bool, session: Session) -> dict[str, Any]:
    """The teacher as `client.jobs.create` wants it; a large file is sent first, in parts."""
    if known:
        return {"teacher_id": teacher}
    if Path(teacher).stat().st_size < IN_PARTS_BYTES:
        return {"teacher": teacher}
    return {"upload_id": send(client, Path(teacher), session)}


def send(client: Client, path: Path, session: Session) -> str:
    """The id of an upload, with a bar while it takes."""
    with transfer(path.name, quiet=session.quiet or session.as_json) as listener:
        return client.uploads.send(path, on_progress=listener)
