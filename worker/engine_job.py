"""The engine's pipeline over the converted files of a job."""

from __future__ import annotations

from dfad_core.contract.errors import Stopped
from dfad_core.contract.job_result import JobResult, OutputFile
from dfad_core.contract.job_spec import JobSpec
from dfad_core.contract.limits import Limits
from dfad_core.contract.serialization import JsonObject
from dfad_core.formats.converted import read_converted
from dfad_core.formats.labelled import read_labelled
from dfad_core.job import JobInputs, JobOptions, JobOutcome, run_job
from dfad_core.report.later_accuracy import FinishedJob, measure_later
from worker.conversion import Converted
from worker.hooks import PipeHooks


def run(
    files: Converted,
    spec: JsonObject,
    hooks: PipeHooks,
    *,
    resume: bytes | None,
    checkpoint_seconds: float,
    limits: Limits,
) -> JobOutcome:
    """Run the job of a resolved `spec`; the report prints that spec. Raises what `run_job` raises."""
    return run_job(
        JobInputs(files.teacher, files.initial, files.labelled, converted=True),
        JobSpec.from_json(spec),
        hooks,
        resume=resume,
        options=JobOptions(checkpoint_seconds=checkpoint_seconds, settings=spec, limits=limits),
    )


def measure(files: Converted, job: FinishedJob, hooks: PipeHooks) -> tuple[JobResult, OutputFile]:
    """Result and report of a finished job with the accuracy on its labelled images; see `measure_later`.

    Raises Stopped where the supervisor asks for it.
    """

    def between() -> None:
        if (reason := hooks.should_stop()) is not None:
            raise Stopped(reason)

    assert files.labelled is not None, "it is what the job is measured on"
    teacher = read_converted(files.teacher)
    labelled = read_labelled(files.labelled, teacher.input, teacher.num_classes)
    return measure_later(teacher, labelled, job, between)
