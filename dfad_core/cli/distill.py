"""`distill`: from a teacher's file to a student's file and a report, in this process."""

from __future__ import annotations

import argparse
from pathlib import Path

from dfad_core.cli.job_arguments import check_output, job_inputs, job_spec
from dfad_core.cli.job_hooks import LineHooks
from dfad_core.cli.lines import Interrupt, Lines
from dfad_core.contract.errors import CheckpointError, ConfigError
from dfad_core.contract.serialization import to_json
from dfad_core.formats.whole_file import write_whole
from dfad_core.job import FOREIGN_CHECKPOINT, JobOptions, JobOutcome, run_job
from dfad_core.report.job_result import Outcome
from dfad_core.training.checkpoint_folder import DAMAGED, CheckpointFolder

OK, FAILED, INTERRUPTED = 0, 1, 130
NO_CHECKPOINTS = 86_400.0
"""Seconds between checkpoints where there is no folder for them."""


def run(arguments: argparse.Namespace, lines: Lines, interrupt: Interrupt) -> int:
    """Train, write the student before anything else, then measure, export and report.

    With `--resume`, checkpoints go to that folder, and training goes on from the newest one in it. After an
    interrupt nothing more is measured. Raises the engine's errors, and ConfigError (`foreign_checkpoint`)
    where the folder holds another job's checkpoints; none of them is touched.
    """
    spec = job_spec(arguments)
    check_output(arguments)
    folder = None if arguments.resume is None else CheckpointFolder(arguments.resume)
    resume = None if folder is None else _newest(folder, lines)
    step = folder.newest_step() if folder is not None and resume is not None else None
    hooks = LineHooks(lines, interrupt, arguments.output, folder, step)
    options = JobOptions(
        checkpoint_seconds=NO_CHECKPOINTS if folder is None else arguments.checkpoint_seconds,
        progress_seconds=0.5,
        refuse_foreign_checkpoint=True,
        measure_after_stop=False,
    )
    try:
        outcome = run_job(job_inputs(arguments), spec, hooks, resume=resume, options=options)
    except CheckpointError as error:
        if error.code != FOREIGN_CHECKPOINT:
            raise
        text = (
            f"{arguments.resume} holds the checkpoints of another job: other teacher, student, settings or "
            "version. Give the same options as in that run, or another folder."
        )
        raise ConfigError(text, code=error.code, param="resume") from error
    _report(outcome, arguments, hooks, lines, step)
    if outcome.error is not None:
        lines.write("error", {"code": outcome.error.code, "message": outcome.error.message, "param": None})
        return FAILED
    return INTERRUPTED if interrupt.requested else OK


def _newest(folder: CheckpointFolder, lines: Lines) -> bytes | None:
    """The newest sound checkpoint, with a warning for each that is damaged."""

    def warn(path: Path, error: CheckpointError) -> None:
        text = f"{path.name}: {error.message}; it is not used, and renamed to end in {DAMAGED}"
        lines.write("warning", {"code": "checkpoint_unusable", "message": text})

    return folder.load(warn)


def _report(
    outcome: JobOutcome, arguments: argparse.Namespace, hooks: LineHooks, lines: Lines, step: int | None
) -> None:
    """Write the files beside the student, and the line `result`."""
    training, measured = outcome.training, outcome.measured
    files = [arguments.output, *(_write(measured, arguments.output) if measured is not None else [])]
    if outcome.complete and (measured is None or measured.stopped):
        text = "interrupted; the student is kept, not all of it is measured"
        hooks.warn("not_measured", {"message": text})
    if not outcome.complete and outcome.error is None and arguments.resume is not None:
        text = f"interrupted at step {training.steps}; the same command goes on from there"
        hooks.note("interrupted", {"step": training.steps, "message": text})
    lines.write(
        "result",
        {
            "student": str(arguments.output),
            "report": next((str(path) for path in files if path.name.endswith("report.html")), None),
            "files": [str(path) for path in files],
            "partial": not outcome.complete,
            "resumed_from": step if outcome.resumed else None,
            "steps": training.steps,
            "seconds": round(training.seconds, 3),
            "result": None if measured is None else to_json(measured.result),
        },
    )


def _write(measured: Outcome, student: Path) -> list[Path]:
    """Write the other files beside the student, named after it unless it has the usual name; their paths."""
    paths = []
    for file in measured.files:
        name = file.filename
        if student.stem != "student":
            name = name.replace("student", student.stem, 1) if "student" in name else f"{student.stem}.{name}"
        paths.append(student.with_name(name))
        write_whole(paths[-1], file.content)
    return paths
