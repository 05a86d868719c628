"""What a finished training gives: the job's result, and the files for its user."""

from __future__ import annotations

import dataclasses
import platform
import resource
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

import dfad_core
from dfad_core.config import DistillConfig
from dfad_core.errors import DivergedError
from dfad_core.evaluation.accuracy import accuracy_over
from dfad_core.evaluation.cost import cost
from dfad_core.evaluation.labelled import Labelled
from dfad_core.evaluation.latency import latency
from dfad_core.evaluation.proof import proven
from dfad_core.evaluation.suite import held_out_images
from dfad_core.export.formats import export
from dfad_core.export.metadata import StudentMetadata
from dfad_core.export.safetensors import student_bytes
from dfad_core.hooks import Hooks
from dfad_core.loading import LoadedTeacher
from dfad_core.methods import resolve_recipe
from dfad_core.methods.terms import bn_layers
from dfad_core.runtime import resolve
from dfad_core.trainer import DistillResult

MOST_BARS = 1000
"""Classes of which a histogram is made."""


@dataclass(frozen=True)
class Produced:
    """One file."""

    kind: str
    filename: str
    media_type: str
    content: bytes


@dataclass(frozen=True)
class Outcome:
    """What a run gives: the result for the job's row and the files."""

    result: dict[str, Any]
    files: list[Produced]
    steps: int
    stopped: bool
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
    labelled: Labelled | None = None
    said: dict[str, Any] = field(default_factory=dict)
    """More for the result: how the student was chosen, what it began with."""


def outcome(trained: Trained, spec: dict[str, Any], hooks: Hooks, alive: Callable[[], object]) -> Outcome:
    """Measure, export and report. What goes wrong with an export is told and costs that format alone."""
    done, config = trained.done, trained.config
    synthetic = done.synthetic_BCHW
    if synthetic is None:
        synthetic = held_out_images(config.input.shape, config.seed, None, 0)
    result = _result(trained, alive)
    result["class_histogram"] = _histogram(trained.teacher, synthetic)
    metadata = StudentMetadata(
        trained.student_spec["architecture"],
        dict(trained.student_spec["args"]),
        trained.teacher.num_classes,
        trained.teacher.input,
        {
            "method": config.method.name,
            "steps": done.steps,
            "seed": config.seed,
            "partial": trained.stopped,
        },
    )

    def failed(name: str, why: str) -> None:
        result["exports"][name] = {"error": why}
        hooks.event("export_failed", {"format": name, "message": why})

    result["exports"] = {}
    files = [
        Produced(
            "student",
            "student.safetensors",
            "application/octet-stream",
            student_bytes(trained.student, metadata),
        )
    ]
    teacher = trained.teacher.module.cpu()
    for made in export(
        spec["exports"], trained.student, teacher, metadata, synthetic, failed=failed, between=alive
    ):
        name = f"student{SUFFIXES[made.name]}"
        files.append(Produced(f"student_{made.name}", name, "application/octet-stream", made.content))
        result["exports"][made.name] = {"bytes": len(made.content), **made.figures}
    alive()
    files += _report(trained, spec, hooks, result)
    return Outcome(result, files, done.steps, trained.stopped)


SUFFIXES = {"onnx": ".onnx", "pt2": ".pt2", "int8": ".int8.onnx", "huggingface": ".zip"}


def _result(trained: Trained, alive: Callable[[], object]) -> dict[str, Any]:
    teacher, student, config, done = trained.teacher, trained.student, trained.config, trained.done
    shape = teacher.input.shape
    runtime = resolve(config)
    sizes = {"teacher": cost(teacher.module, shape), "student": cost(student, shape)}
    names = {"teacher": teacher.architecture, "student": trained.student_spec["architecture"]}
    times = {}
    for who, module in (("teacher", teacher.module), ("student", student)):
        times[who] = latency(module, shape, runtime.device)
        alive()
    student.cpu()
    recipe = resolve_recipe(config.method, teacher_has_bn=bool(bn_layers(teacher.module)))
    return {
        **{
            who: {
                "architecture": names[who],
                **dataclasses.asdict(sizes[who]),
                "latency_milliseconds": times[who],
            }
            for who in sizes
        },
        "compression": round(sizes["teacher"].parameters / sizes["student"].parameters, 3),
        "fidelity": done.fidelity,
        "fidelity_proof": proven(),
        "accuracy": _accuracy(trained, runtime.device, alive),
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


def _accuracy(trained: Trained, device: torch.device, alive: Callable[[], object]) -> dict[str, Any] | None:
    """On the user's labelled data, if there are any; they are used for nothing else."""
    labelled = trained.labelled
    if labelled is None:
        return None
    found = {}
    for who, module in (("teacher", trained.teacher.module), ("student", trained.student)):
        found[who] = accuracy_over(module.to(device), labelled.batches(), alive)
    trained.student.cpu()
    return {**found, "images": labelled.count, "data": labelled.name, "notes": list(labelled.notes)}


def _histogram(teacher: LoadedTeacher, synthetic_BCHW: Tensor) -> list[int] | None:
    """How often the teacher sees each class in synthetic images that nobody was trained on."""
    if teacher.num_classes > MOST_BARS:
        return None
    device = next(teacher.module.parameters()).device
    with torch.no_grad():
        classes = [teacher.module(x.to(device)).argmax(1).cpu() for x in torch.split(synthetic_BCHW, 64)]
    return torch.bincount(torch.cat(classes), minlength=teacher.num_classes).tolist()


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
