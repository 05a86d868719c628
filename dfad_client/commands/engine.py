"""`dfad distill, export, pack, bench`: the engine on this machine, with no server at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

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
from dfad_client.commands.shared import Exit, Session
from dfad_client.commands.spec import UsageError, student_args, teacher_input
from dfad_client.folders import one_file
from dfad_client.local.engine_process import Engine, EngineFailed, EngineMissing
from dfad_client.terminal import display
from dfad_client.terminal.completion import complete_format, complete_method
from dfad_client.terminal.watch import Watch


def distill(
    session: Session,
    teacher: Annotated[Path, typer.Argument(metavar="TEACHER", help="A file of yours, or one you trust.")],
    architecture: Architecture = None,
    weights: Weights = None,
    num_classes: Annotated[
        int | None, typer.Option(min=1, help="The teacher's number of classes, where its file does not say.")
    ] = None,
    input: Input = None,
    mean: Mean = None,
    std: Std = None,
    teacher_output: Annotated[str | None, typer.Option(metavar="NAME", help=TEACHER_OUTPUT)] = None,
    student: Student = None,
    student_arg: StudentArg = None,
    layers: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The student as a list of layers, in JSON.")
    ] = None,
    transformers: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The student as a transformers config.json.")
    ] = None,
    method: Method = None,
    steps: Steps = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="End the training after this time instead.")
    ] = None,
    seed: Seed = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    max_parameters: MaxParameters = None,
    max_macs: MaxMacs = None,
    max_bytes: MaxBytes = None,
    export: Export = None,
    evaluate_on: EvaluateOn = None,
    init_from: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Initial weights of the student.")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write checkpoints there, and go on from the newest one."),
    ] = None,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FILE", help="The student's; the report goes beside it."),
    ] = Path("student.safetensors"),
) -> None:
    """Distil on this machine, without a server. Ctrl-C ends it and keeps the student as it is.

    With --resume, the same command goes on where an interrupted run ended.
    """
    if not teacher.exists():
        raise UsageError(f"there is no file {teacher}")
    limits = {"max_parameters": max_parameters, "max_macs": max_macs, "max_bytes": max_bytes}
    target = {name: value for name, value in limits.items() if value is not None}
    if sum((student is not None, layers is not None, transformers is not None, bool(target))) != 1:
        text = (
            "name the student in one way: --student NAME, --layers FILE, --transformers FILE, or limits of "
        )
        raise UsageError(text + "its cost (--max-parameters NUMBER)")
    named = teacher_input(input, mean, std)
    single = {
        "architecture": architecture,
        "weights": weights,
        "num-classes": num_classes,
        "input": None if named is None else json.dumps(named),
        "teacher-output": teacher_output,
        "student": student,
        "student-args": json.dumps(student_args(student_arg or [])),
        "layers": layers,
        "transformers": transformers,
        "target": json.dumps(target) if target else None,
        "init-from": init_from,
        "method": method,
        "steps": steps,
        "seconds": seconds,
        "seed": seed,
        "device": device,
        "evaluate-on": evaluate_on,
        "resume": resume,
        "output": output / "student.safetensors" if output.is_dir() else output,
    }
    flags = [f"--{name}={value}" for name, value in single.items() if value is not None]
    flags += [f"--export={name}" for name in export or []]
    with one_file(teacher) as file:
        found, interrupted = _run(session, "starting the engine", "distill", *flags, "--", str(file))
    session.tell(found, essential=found["student"], human="\n".join(display.distilled(found)))
    if interrupted:
        raise typer.Exit(Exit.INTERRUPTED)


def export(
    session: Session,
    student: Annotated[Path, typer.Argument(metavar="STUDENT", help="A student's .safetensors file.")],
    to: Annotated[str, typer.Option(help="The format, e.g. onnx.", autocompletion=complete_format)],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="[default: the student's name, another ending]"),
    ] = None,
) -> None:
    """Write a student in another format, compared with the original. Needs no server."""
    if not student.is_file():
        raise UsageError(f"there is no file {student}")
    flags = [f"--to={to}", *([f"--output={output}"] if output else [])]
    found, _ = _run(session, "exporting", "export", *flags, "--", str(student))
    human = f"{found['path']}: {display.exported(found)}"
    session.tell(found, essential=found["path"], human="\n".join([human, *display.caution(found)]))


def pack(
    session: Session,
    network: Annotated[
        str, typer.Argument(metavar="FILE.py:NAME", help="A function there that builds the network.")
    ],
    input: Annotated[str, typer.Option(metavar="CxHxW", help="Its images, e.g. 3x224x224.")],
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its state dict; else as the function gives it.")
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE")] = Path("teacher.onnx"),
) -> None:
    """Write a network of your own as an ONNX teacher, with its batch norm. Runs your code, and no server."""
    single = {"input": json.dumps(teacher_input(input, None, None)), "weights": weights, "output": output}
    flags = [f"--{name}={value}" for name, value in single.items() if value is not None]
    found, _ = _run(session, "exporting", "pack", *flags, "--", network)
    difference = found["max_difference"]
    compared = "not compared" if difference is None else f"largest difference of a result {difference:.2g}"
    human = (
        f"{found['path']}: {found['bytes']:,} bytes, {found['parameters']:,} parameters, "
        f"{found['bn_layers']} batch-norm layers, {found['num_classes']} classes; {compared}"
    )
    session.tell(found, essential=found["path"], human="\n".join([human, *found["notes"]]))


def bench(
    session: Session,
    pair: Annotated[
        str, typer.Argument(metavar="TEACHER:STUDENT", help="Two architectures, e.g. resnet34:resnet18.")
    ] = "lenet5:lenet5_half",
    seconds: Annotated[float, typer.Option(min=0.5, max=3600, help="How long to measure.")] = 5.0,
    method: Annotated[str, typer.Option(autocompletion=complete_method)] = "best",
    batch_size: Annotated[int, typer.Option(min=2, max=8192)] = 128,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Measure how many rounds of distillation this machine makes in a second. Needs no server."""
    flags = [f"--seconds={seconds}", f"--method={method}", f"--batch-size={batch_size}", f"--device={device}"]
    found, _ = _run(session, "measuring", "bench", *flags, "--", pair)
    session.tell(found, essential=f"{found['rounds_per_second']:g}", human="\n".join(display.measured(found)))


def _run(session: Session, first: str, *arguments: str) -> tuple[dict[str, Any], bool]:
    """Show a run of the engine's program. Its result, and whether the user interrupted it."""
    quiet = session.quiet or session.as_json
    with _explained(session), Engine(*arguments) as engine, Watch(quiet=quiet, waiting_for=first) as shown:
        engine.on_interrupt = shown.stopping
        for event in engine:
            shown.show(event)
            if session.as_json:
                typer.echo(json.dumps({"seq": event.seq, "type": event.type, "data": event.data}))
        try:
            return engine.result(), engine.interrupted
        except EngineFailed:
            if engine.found is not None and "student" in engine.found:
                typer.echo(f"dfad: the student until then is in {engine.found['student']}", err=True)
            raise


@contextmanager
def _explained(session: Session) -> Iterator[None]:
    """Turn the engine's failures into the exit codes and texts of a server's failures."""
    try:
        yield
    except EngineMissing as error:
        session.fail(Exit.CANNOT_START, "engine_missing", str(error))
    except EngineFailed as error:
        known = error.exit_code in (Exit.JOB_FAILED, Exit.USAGE, Exit.INTERRUPTED)
        code = Exit(error.exit_code) if known else Exit.JOB_FAILED
        at = f" ({error.param})" if error.param else ""
        session.fail(code, error.code, f"{error}{at} [{error.code}]", param=error.param)
