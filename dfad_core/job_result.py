"""What a finished training gives: the job's result, and the files for its user."""

from __future__ import annotations

import dataclasses
import platform
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

import dfad_core
from dfad_core.contract.config import DistillConfig
from dfad_core.contract.evaluation_plan import images_within
from dfad_core.errors import DivergedError, Stopped
from dfad_core.evaluation.measure import measure
from dfad_core.evaluation.proof import proven
from dfad_core.formats import LoadedTeacher
from dfad_core.formats.export import TYPICAL_SECONDS, Export, export
from dfad_core.formats.labelled import Labelled
from dfad_core.formats.metadata import StudentMetadata
from dfad_core.formats.safetensors import student_bytes
from dfad_core.hooks import Hooks
from dfad_core.methods import resolve_recipe
from dfad_core.networks.batch_norm import bn_layers
from dfad_core.networks.cost import Cost, cost
from dfad_core.pace import Pace
from dfad_core.training.runtime import cpu_threads, resolve
from dfad_core.training.trainer import DistillResult

REPORT_SECONDS = 2.0
"""About what latencies of small networks and the report take."""
STREAM = "application/octet-stream"
SUFFIXES = {"onnx": ".onnx", "pt2": ".pt2", "int8": ".int8.onnx", "huggingface": ".zip"}


@dataclass(frozen=True)
class Produced:
    """One file."""

    kind: str
    filename: str
    media_type: str
    content: bytes


@dataclass(frozen=True)
class Outcome:
    """What a run gives beside the student itself: the result for the job's row, and files."""

    result: dict[str, Any]
    files: list[Produced]
    steps: int
    stopped: bool
    """In training, or before all was measured and exported."""
    error: DivergedError | None = None
    """Why there is no more than a partial student."""


@dataclass(frozen=True)
class Trained:
    """Everything that is known when the training is over."""

    teacher: LoadedTeacher
    student: nn.Module
    student_spec: Mapping[str, Any]
    """`architecture` and `args` as they were built."""
    config: DistillConfig
    done: DistillResult
    stopped: bool
    """Before training came to its end."""
    costs: Mapping[str, Cost]
    """Of `teacher` and `student`; see `network_costs`."""
    labelled: Labelled | None = None
    said: dict[str, Any] = field(default_factory=dict)
    """More for the result: how the student was chosen, what it began with."""


def network_costs(teacher: LoadedTeacher, student: nn.Module) -> dict[str, Cost]:
    """Of both, before anybody trains."""
    shape = teacher.input.shape
    return {"teacher": cost(teacher.module, shape), "student": cost(student, shape)}


def later_seconds(exports: Sequence[str]) -> float:
    """About what exports and report take after evaluation."""
    return REPORT_SECONDS + sum(TYPICAL_SECONDS.get(name, 0.0) for name in exports)


def student_metadata(trained: Trained) -> StudentMetadata:
    """What the student's files say of themselves."""
    return StudentMetadata(
        trained.student_spec["architecture"],
        dict(trained.student_spec["args"]),
        trained.teacher.num_classes,
        trained.teacher.input,
        {
            "method": trained.config.method.name,
            "steps": trained.done.steps,
            "seed": trained.config.seed,
            "partial": trained.stopped,
        },
    )


def student_file(trained: Trained) -> Produced:
    """The student as safetensors, for `Hooks.student_ready`: it is not among the files of `outcome`."""
    content = student_bytes(trained.student, student_metadata(trained))
    return Produced("student", "student.safetensors", STREAM, content)


def outcome(trained: Trained, spec: dict[str, Any], hooks: Hooks) -> Outcome:
    """Measure, export and report. What goes wrong with an export is told and costs that format alone.

    A stop leaves out what is not there yet, unless training was stopped by it already: then what there is
    of a student is measured and exported, for as long as whoever stopped it waits. All of it runs with as
    many CPU threads as training had in the end.
    """
    found = Outcome(student_result(trained), [], trained.done.steps, trained.stopped)
    try:
        with cpu_threads(trained.done.threads):
            synthetic_BCHW = measure(trained, hooks, found.result, resolve(trained.config).device)
            hooks.phase("exporting")
            _export(trained, spec["exports"], hooks, synthetic_BCHW, found)
    except Stopped:
        found = dataclasses.replace(found, stopped=True)
    found.files.extend(_report(trained, spec, hooks, found.result))
    return found


def _export(
    trained: Trained, exports: Sequence[str], hooks: Hooks, synthetic_BCHW: Tensor, found: Outcome
) -> None:
    """Formats beside safetensors into the outcome's files and result. Raises Stopped."""
    names = [name for name in exports if name in SUFFIXES]
    pace = Pace(
        hooks,
        "exporting",
        total=len(names),
        unit="formats",
        expected_seconds=later_seconds(names),
        obeys=not trained.stopped,
    )

    def ready(made: Export) -> None:
        name = f"student{SUFFIXES[made.name]}"
        found.files.append(Produced(f"student_{made.name}", name, STREAM, made.content))
        found.result["exports"][made.name] = {"bytes": len(made.content), **made.figures}
        pace(1)

    def failed(name: str, why: str) -> None:
        found.result["exports"][name] = {"error": why}
        hooks.event("export_failed", {"format": name, "message": why})
        pace(1)

    pace()
    student, teacher = trained.student.cpu(), trained.teacher.module.cpu()
    metadata = student_metadata(trained)
    macs = trained.costs["student"].macs + trained.costs["teacher"].macs
    export(
        names,
        student,
        teacher,
        metadata,
        synthetic_BCHW,
        checked_images=images_within(macs, len(synthetic_BCHW)),
        failed=failed,
        between=pace,
        ready=ready,
    )


def student_result(trained: Trained) -> dict[str, Any]:
    """What is known before anything is measured; what is not is None or empty."""
    teacher, config, done = trained.teacher, trained.config, trained.done
    runtime, sizes = resolve(config), trained.costs
    names = {"teacher": teacher.architecture, "student": trained.student_spec["architecture"]}
    recipe = resolve_recipe(config.method, teacher_has_bn=bool(bn_layers(teacher.module)))
    return {
        **{
            who: {
                "architecture": names[who],
                **dataclasses.asdict(sizes[who]),
                "latency_milliseconds": None,
            }
            for who in sizes
        },
        "compression": round(sizes["teacher"].parameters / sizes["student"].parameters, 3),
        "fidelity": done.fidelity,
        "fidelity_proof": proven(),
        "evaluation": done.evaluation,
        "accuracy": None,
        "class_histogram": None,
        "usable": None,
        "unusable_reason": None,
        "exports": {},
        **trained.said,
        "training": {
            "method": config.method.name,
            "weights": dataclasses.asdict(recipe),
            "steps": done.steps,
            "seconds": round(done.seconds, 3),
            "device": str(runtime.device),
            "precision": runtime.precision,
            "threads": done.threads,
            "threads_changed": done.threads_changed,
            "seed": config.seed,
            "complete": not trained.stopped,
        },
        "resources": {
            "peak_memory_bytes": _peak_bytes(),
            "gpu_peak_memory_bytes": _gpu_peak(runtime.device),
            "teacher_queries": done.metrics.get("teacher_queries"),
        },
        "events": done.events,
        "versions": {
            "dfad": dfad_core.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


def _peak_bytes() -> int:
    """The most memory that this process has held at a time."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _gpu_peak(device: torch.device) -> int | None:
    """Of what this process had allocated on the GPU; None without one."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def _report(trained: Trained, spec: dict[str, Any], hooks: Hooks, result: dict[str, Any]) -> list[Produced]:
    """Page and picture; none, and an event, where the packages of the extra `report` are not installed."""
    try:
        from dfad_core.report.card import render_report
        from dfad_core.report.picture import png

        picture = None if trained.done.samples is None else png(trained.done.samples)
        page = render_report(
            result,
            history=trained.done.history,
            samples_png=picture,
            earlier_png=hooks.pictures,
            settings=spec,
            title=f"{result['teacher']['architecture']} to {result['student']['architecture']}",
        )
    except ModuleNotFoundError as error:
        text = f"There is no report: {error.name} is missing (pip install 'dfad[report]')."
        hooks.event("report_missing", {"message": text})
        return []
    files = [Produced("report", "report.html", "text/html; charset=utf-8", page.encode())]
    if picture is not None:
        files.append(Produced("samples", "samples.png", "image/png", picture))
    return files
