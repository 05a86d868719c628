"""The engine's pipeline over the converted files of a job."""

from __future__ import annotations

from dfad_core.contract.job_spec import JobSpec
from dfad_core.contract.limits import Limits
from dfad_core.contract.serialization import JsonObject
from dfad_core.job import JobInputs, JobOptions, JobOutcome, run_job
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
