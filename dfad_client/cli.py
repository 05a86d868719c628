"""The `dfad` command line."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from dfad_client.answers import Job
from dfad_client.commands import manifests
from dfad_client.commands.keys import keys
from dfad_client.commands.look import doctor, events
from dfad_client.commands.shared import AsJson, Exit, Url, connected, explained, fail
from dfad_client.commands.spec import UsageError, build_spec, part_of, student_args
from dfad_client.terminal import display

EPILOG = (
    "Exit codes: 0 all well (with `submit --wait` and `watch`: the job succeeded); 1 the job failed or was "
    "cancelled; 2 wrong usage, or a file that cannot be read or written; 3 the server refused; "
    "4 no connection, or a damaged transfer; 5 `up` cannot start or keep the service, or "
    "`doctor` found a fault."
)
app = typer.Typer(
    name="dfad",
    help="Distil a trained model into a smaller one, without data.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # square brackets in help texts are text
)
app.add_typer(keys, name="keys")
app.command()(doctor)
app.command()(events)

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")]


def _show_job(job: Job, as_json: bool) -> None:
    typer.echo(json.dumps(job.raw) if as_json else "\n".join(display.summary(job)))


def _follow(url: str | None, job_id: str, *, as_json: bool, every_event: bool) -> NoReturn:
    """Show a job until its end, say how it ended, and exit accordingly."""
    with explained(as_json, f"The job goes on; see it again with: dfad watch {job_id}"):
        with connected(url, patient=True) as client, display.Watch(quiet=as_json) as watch:
            for event in client.jobs.stream(job_id):
                watch.show(event)
                if every_event:
                    body = {"seq": event.seq, "type": event.type, "created_at": event.created_at}
                    typer.echo(json.dumps({**body, "data": event.data}))
            job = client.jobs.retrieve(job_id)
        _show_job(job, as_json)
    raise typer.Exit(Exit.OK if job.succeeded else Exit.JOB_FAILED)


@app.command()
def up(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    host: Annotated[str, typer.Option(help="Beyond loopback an API key is needed.")] = "127.0.0.1",
    workers: Annotated[int, typer.Option(min=1, max=64, help="Jobs that run at the same time.")] = 1,
    home: Annotated[
        Path, typer.Option(envvar="DFAD_HOME", help="The folder of all data.", show_default=True)
    ] = Path(".dfad"),
    as_json: AsJson = False,
) -> None:
    """Run the whole service on this machine until Ctrl-C."""
    from dfad_client.local.up import CannotStart, Up

    try:
        Up(home=home, host=host, port=port, workers=workers, as_json=as_json).run()
    except CannotStart as error:
        fail(Exit.CANNOT_START, error.code, str(error), as_json)


@app.command()
def submit(  # noqa: PLR0917  (the options of a command)
    teacher: Annotated[
        str, typer.Argument(metavar="TEACHER", help="A .safetensors, .pt or .pth file, or tch_…")
    ],
    architecture: Annotated[
        str | None, typer.Option(help="The teacher's, where its file does not say.")
    ] = None,
    student: Annotated[str | None, typer.Option(help="Architecture of the student.")] = None,
    student_arg: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=INTEGER", help="An argument of the student, e.g. width=8."),
    ] = None,
    spec: Annotated[str | None, typer.Option(metavar="FILE", help="JSON; - reads standard input.")] = None,
    method: Annotated[str | None, typer.Option(help="best (the default), dfad_ar_vi …")] = None,
    steps: Annotated[int | None, typer.Option(help="Rounds of training.")] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    max_parameters: Annotated[
        int | None, typer.Option(help="Derive the largest student of the teacher's family within it.")
    ] = None,
    max_macs: Annotated[int | None, typer.Option(help="Likewise, in multiply-accumulates.")] = None,
    max_bytes: Annotated[int | None, typer.Option(help="Likewise, in bytes of weights.")] = None,
    export: Annotated[
        list[str] | None,
        typer.Option(help="onnx, pt2, int8 or huggingface, beside safetensors; repeatable."),
    ] = None,
    evaluate_on: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Labelled images (npz, zip of class folders, parquet): accuracy."),
    ] = None,
    init_from: Annotated[
        str | None, typer.Option(metavar="FILE", help="The student's first weights, or art_…")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Show progress until the job has ended.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Send a teacher and start a job. Options override the spec file."""
    with explained(as_json):
        known = teacher.startswith("tch_") and not Path(teacher).exists()
        if not known and not Path(teacher).is_file():
            raise UsageError(f"there is no file {teacher}")
        body = build_spec(
            spec,
            architecture=architecture,
            student=student,
            args=student_args(student_arg or []),
            method=method,
            steps=steps,
            seed=seed,
            target={"max_parameters": max_parameters, "max_macs": max_macs, "max_bytes": max_bytes},
            exports=export,
        )
        with connected(url) as client:
            if evaluate_on is not None:
                part_of(body, "evaluation")["upload_id"] = client.uploads.send(evaluate_on)
            if init_from is not None:
                there = init_from.startswith("art_") and not Path(init_from).exists()
                begin = {"artifact_id": init_from} if there else {"upload_id": client.uploads.send(init_from)}
                part_of(body, "student")["init_from"] = begin
            named = {"teacher_id": teacher} if known else {"teacher": teacher}
            job = client.jobs.create(**named, spec=body)
    if wait:
        typer.echo(f"Submitted {job.id}.", err=True)
        _follow(url, job.id, as_json=as_json, every_event=False)
    typer.echo(json.dumps(job.raw) if as_json else job.id)
    if not as_json:
        typer.echo(f"Submitted. Follow it with: dfad watch {job.id}", err=True)


@app.command()
def watch(job_id: JobId, url: Url = None, as_json: AsJson = False) -> None:
    """Follow a job to its end. With --json: one event a line, then the job."""
    with explained(as_json), connected(url) as client:
        client.jobs.retrieve(job_id)
    _follow(url, job_id, as_json=as_json, every_event=as_json)


@app.command("list")
def list_jobs(
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    status: Annotated[str | None, typer.Option(help="Only these, e.g. running.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with explained(as_json), connected(url) as client:
        found = client.jobs.list(status=status, page_size=min(limit, 100))
        jobs = list(itertools.islice(found, limit))
    if as_json:
        typer.echo(json.dumps({"data": [job.raw for job in jobs]}))
    elif jobs:
        typer.echo("\n".join(display.table(jobs)))
    else:
        typer.echo("No jobs.", err=True)


@app.command()
def show(job_id: JobId, url: Url = None, as_json: AsJson = False) -> None:
    """Show one job."""
    with explained(as_json), connected(url) as client:
        _show_job(client.jobs.retrieve(job_id), as_json)


@app.command()
def cancel(job_id: JobId, url: Url = None, as_json: AsJson = False) -> None:
    """Ask for a job's end. What it has trained so far is kept."""
    with explained(as_json), connected(url) as client:
        job = client.jobs.cancel(job_id)
    typer.echo(json.dumps(job.raw) if as_json else display.verdict(job))


@app.command()
def pause(job_id: JobId, url: Url = None, as_json: AsJson = False) -> None:
    """Hold a job: its worker goes free, its deadline stands still."""
    with explained(as_json), connected(url) as client:
        job = client.jobs.pause(job_id)
    typer.echo(json.dumps(job.raw) if as_json else display.verdict(job))


@app.command()
def resume(job_id: JobId, url: Url = None, as_json: AsJson = False) -> None:
    """Queue a paused job again; it goes on from its checkpoint."""
    with explained(as_json), connected(url) as client:
        job = client.jobs.resume(job_id)
    typer.echo(json.dumps(job.raw) if as_json else display.verdict(job))


@app.command()
def rerun(
    source: Annotated[str, typer.Argument(metavar="JOB|MANIFEST", help="A job's id, or its manifest.json.")],
    teacher: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The manifest's teacher, if the server has it not.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="With a manifest: compare the students.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Start a new job with the teacher and the spec of another, here or from its manifest."""
    manifest = None
    with explained(as_json), connected(url, patient=wait) as client:
        if Path(source).is_file():
            manifest = manifests.Manifest.read(Path(source))
            job = manifests.run_again(client, manifest, teacher)
        else:
            job = client.jobs.rerun(source)
        if wait:
            job = client.jobs.wait(job.id)
            if manifest is not None and job.succeeded:
                typer.echo(manifests.verdict(client, manifest, job), err=True)
    typer.echo(json.dumps(job.raw) if as_json else job.id)
    if wait and not job.succeeded:
        raise typer.Exit(Exit.JOB_FAILED)


@app.command()
def download(  # noqa: PLR0917
    job_id: JobId,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="[default: the job's id and an ending]"),
    ] = None,
    kind: Annotated[str, typer.Option(help="student, report, manifest or samples (the newest).")] = "student",
    format: Annotated[
        str, typer.Option(help="Of the student: safetensors, onnx, pt2, int8, huggingface.")
    ] = "safetensors",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Fetch the student, verified against its SHA-256."""
    with explained(as_json), connected(url) as client:
        if kind == "student":
            artifact = client.jobs.student(job_id, format=format)
        else:
            found = [a for a in client.jobs.artifacts(job_id) if a.kind == kind]
            if not found:
                raise UsageError(f"{job_id} has no artifact of kind {kind!r} (yet)")
            artifact = found[-1]
        name = job_id + ("" if kind == "student" else f".{kind}") + Path(artifact.filename or "").suffix
        path = client.jobs.download(artifact, output or Path(name))
    if as_json:
        typer.echo(json.dumps({"path": str(path), "artifact": artifact.raw}))
    else:
        note = " (partial: the job did not run to its end)" if artifact.partial else ""
        typer.echo(f"{path}: {artifact.bytes} bytes{note}")
