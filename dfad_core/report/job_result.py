"""The result of a job after its training: measurements, exported files and the report."""

from __future__ import annotations

import dataclasses
import platform
import resource
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import dfad_core
from dfad_core.contract.config import DistillConfig
from dfad_core.contract.errors import DivergedError, Stopped
from dfad_core.contract.evaluation_plan import images_within
from dfad_core.contract.formats import DEFAULT, EXPORTS, FORMATS
from dfad_core.contract.inspection import names_within
from dfad_core.contract.job_result import (
    AccuracyPrediction,
    ChosenStudent,
    Evaluation,
    ExportResult,
    InitialWeightsMatch,
    JobResult,
    NetworkFigures,
    OutputFile,
    Resources,
    Training,
)
from dfad_core.contract.serialization import from_json
from dfad_core.evaluation.fidelity import compared
from dfad_core.evaluation.judge import UNMEASURED, UNTRAINED, predicted, unpredicted
from dfad_core.evaluation.judge_images import student_batch
from dfad_core.evaluation.measure import Measurements, Subjects, measure
from dfad_core.formats import LoadedTeacher
from dfad_core.formats.export import Export, export
from dfad_core.formats.interface import Judged
from dfad_core.formats.labelled import Labelled
from dfad_core.formats.metadata import StudentMetadata
from dfad_core.formats.safetensors import student_bytes
from dfad_core.hooks import DistillResult, Hooks, Pace
from dfad_core.methods import resolve_recipe
from dfad_core.networks.batch_norm import bn_layers
from dfad_core.networks.cost import Cost, cost
from dfad_core.report.loading import loading_lines
from dfad_core.training.runtime import cpu_threads, resolve

REPORT_SECONDS = 2.0
"""Expected time of the report and of the latencies of small networks."""


@dataclass(frozen=True)
class Outcome:
    """A job's result and its files, without the student's safetensors file."""

    result: JobResult
    files: list[OutputFile]
    steps: int
    stopped: bool
    """Whether training, measuring or exporting was stopped."""
    error: DivergedError | None = None
    """Why the student is partial, unless it was a stop."""


@dataclass(frozen=True)
class TrainedStudent:
    """A student after its training, with everything needed for its result."""

    teacher: LoadedTeacher
    student: nn.Module
    student_spec: Mapping[str, Any]
    """`architecture` and `args` of the student."""
    config: DistillConfig
    training: DistillResult
    stopped: bool
    """Whether training ended early."""
    costs: Mapping[str, Cost]
    """Costs of `teacher` and `student`; see `network_costs`."""
    labelled: Labelled | None = None
    chosen: ChosenStudent | None = None
    """The student and its cost, where it was derived from a target."""
    initial: InitialWeightsMatch | None = None
    """Which of the initial weights fitted, where there were any."""


def network_costs(teacher: LoadedTeacher, student: nn.Module) -> dict[str, Cost]:
    """Costs of both networks for one input."""
    shape = teacher.input.shape
    return {"teacher": cost(teacher.module, shape), "student": cost(student, shape)}


def later_seconds(exports: Sequence[str]) -> float:
    """Expected time of exports and report, which follow evaluation."""
    return REPORT_SECONDS + sum(FORMATS[name].typical_seconds for name in exports)


def student_metadata(trained: TrainedStudent) -> StudentMetadata:
    """The metadata in each of the student's files."""
    return StudentMetadata(
        trained.student_spec["architecture"],
        dict(trained.student_spec["args"]),
        trained.teacher.num_classes,
        trained.teacher.input,
        {
            "method": trained.config.method.name,
            "steps": trained.training.steps,
            "seed": trained.config.seed,
            "partial": trained.stopped,
        },
        trained.teacher.class_names,
    )


def student_file(trained: TrainedStudent) -> OutputFile:
    """The student as safetensors, for `JobHooks.keep_student`; the files of `outcome` do not include it."""
    return _student_file(DEFAULT, student_bytes(trained.student, student_metadata(trained)))


def _student_file(name: str, content: bytes) -> OutputFile:
    """The student's file in one format."""
    row = FORMATS[name]
    return OutputFile(row.artifact_kind, f"student{row.suffix}", row.media_type, content)


def outcome(trained: TrainedStudent, spec: Mapping[str, Any], hooks: Hooks) -> Outcome:
    """Measure, export and report. A format that cannot be exported is reported as an event and left out.

    A stop ends measuring and exporting, unless it ended the training already: then the partial student is
    measured and exported. All of it uses the number of CPU threads at the end of the training. `spec` is the
    job's resolved spec: its `exports` are made, and the report prints all of it.
    """
    measurements, exports = Measurements(), _Exports(trained, hooks)
    stopped = trained.stopped
    try:
        with cpu_threads(trained.training.threads):
            subjects = Subjects(
                trained.teacher,
                trained.student,
                trained.costs,
                trained.training.synthetic_BCHW,
                trained.labelled,
                trained.config.seed,
            )
            device = resolve(trained.config).device
            synthetic_BCHW = measure(subjects, measurements, hooks, device, obeys=not stopped)
            hooks.phase("exporting")
            usable = measurements.usability is None or measurements.usability.usable
            exports.make(spec["exports"], synthetic_BCHW, usable=usable)
    except Stopped:
        stopped = True
    result = _with_measurements(student_result(trained), measurements)
    result = dataclasses.replace(result, exports=exports.results)
    files = [*exports.files, *_report(trained, spec, hooks, result)]
    return Outcome(result, files, trained.training.steps, stopped)


def _with_measurements(result: JobResult, measurements: Measurements) -> JobResult:
    teacher, student = (measurements.latency_milliseconds.get(role) for role in ("teacher", "student"))
    usability, prediction = measurements.usability, result.prediction
    if usability is not None and usability.reason is not None:
        prediction = unpredicted(usability.reason)
    return dataclasses.replace(
        result,
        prediction=prediction,
        teacher=dataclasses.replace(result.teacher, latency_milliseconds=teacher),
        student=dataclasses.replace(result.student, latency_milliseconds=student),
        accuracy=measurements.accuracy,
        class_histogram=measurements.class_histogram,
        usable=None if usability is None else usability.usable,
        unusable_reason=None if usability is None else usability.reason,
    )


class _Exports:
    """The student in formats besides safetensors: files, and results of their checks."""

    def __init__(self, trained: TrainedStudent, hooks: Hooks) -> None:
        self._trained, self._hooks = trained, hooks
        self.files: list[OutputFile] = []
        self.results: dict[str, ExportResult] = {}

    def make(self, exports: Sequence[str], synthetic_BCHW: Tensor, *, usable: bool) -> None:
        """Export the formats. Nothing is predicted for them where nothing is for the student.

        Raises Stopped; formats that are finished by then remain.
        """
        trained, prediction = self._trained, self._trained.training.prediction
        is_predicted = prediction is not None and prediction.reason is None
        names = [name for name in exports if name in EXPORTS]
        pace = Pace(
            self._hooks,
            "exporting",
            total=len(names),
            unit="formats",
            expected_seconds=later_seconds(names),
            obeys=not trained.stopped,
        )

        def ready(file: Export) -> None:
            self.files.append(_student_file(file.name, file.content))
            figures = {"bytes": len(file.content), **file.figures}
            self.results[file.name] = from_json(ExportResult, figures)
            pace(1)

        def failed(name: str, why: str) -> None:
            self.results[name] = ExportResult(error=why)
            self._hooks.warn("export_failed", {"format": name, "message": why})
            pace(1)

        pace()
        export(
            names,
            trained.student.cpu(),
            student_metadata(trained),
            synthetic_BCHW[::2],
            self._checked_images(synthetic_BCHW[1::2]),
            judged=self._judged(pace) if usable and is_predicted else None,
            failed=failed,
            between=pace,
            ready=ready,
        )

    def _checked_images(self, others_BCHW: Tensor) -> Tensor:
        """The judge's images, evenly from all sources, as many as the student's cost allows.

        `others_BCHW` where there are none, as after a stop.
        """
        sets = self._trained.training.judge_sets.values()
        images_BCHW = torch.cat([asked.images_BCHW for asked in sets]) if sets else others_BCHW
        count = images_within(self._trained.costs["student"].macs, len(images_BCHW))
        return images_BCHW[torch.linspace(0, len(images_BCHW) - 1, count).long()]

    def _judged(self, pace: Pace) -> Judged:
        """The judge, for an export on the images that the student was judged by."""
        trained = self._trained
        training, shape = trained.training, trained.teacher.input.shape
        most = student_batch(trained.student, shape)

        def judged(run: Callable[[Tensor], Tensor]) -> AccuracyPrediction:
            figures = compared(run, training.judge_sets, lambda _: pace(), most=most)
            return predicted(figures, shape, trained.teacher.num_classes, training.evaluation["images"])

        return judged


def student_result(trained: TrainedStudent) -> JobResult:
    """The result before anything is measured."""
    config, training = trained.config, trained.training
    costs = trained.costs
    device = resolve(config).device
    return JobResult(
        teacher=NetworkFigures(trained.teacher.architecture, **dataclasses.asdict(costs["teacher"])),
        student=NetworkFigures(trained.student_spec["architecture"], **dataclasses.asdict(costs["student"])),
        compression=round(costs["teacher"].parameters / costs["student"].parameters, 3),
        training=_training(trained),
        fidelity=training.fidelity,
        prediction=training.prediction or unpredicted(UNTRAINED if trained.stopped else UNMEASURED),
        evaluation=from_json(Evaluation, training.evaluation) if training.evaluation else None,
        class_names=names_within(trained.teacher.class_names),
        student_chosen=trained.chosen,
        student_init=trained.initial,
        resources=Resources(
            peak_memory_bytes=_peak_bytes(),
            gpu_peak_memory_bytes=_gpu_peak_bytes(device),
            teacher_queries=training.metrics.get("teacher_queries"),
        ),
        events=tuple(training.events),
        versions={
            "dfad": dfad_core.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    )


def _training(trained: TrainedStudent) -> Training:
    config, training, runtime = trained.config, trained.training, resolve(trained.config)
    recipe = resolve_recipe(
        config,
        teacher_has_bn=bool(bn_layers(trained.teacher.module)),
        student_has_bn=bool(bn_layers(trained.student)),
    )
    return Training(
        method=config.method.name,
        weights=dataclasses.asdict(recipe),
        steps=training.steps,
        seconds=round(training.seconds, 3),
        device=str(runtime.device),
        precision=runtime.precision,
        threads=training.threads,
        threads_changed=training.threads_changed,
        seed=config.seed,
        complete=not trained.stopped,
    )


def _peak_bytes() -> int:
    """Largest resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _gpu_peak_bytes(device: torch.device) -> int | None:
    """Largest memory that this process has allocated on the GPU; None without one."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def report_file(
    result: JobResult,
    student: StudentMetadata,
    *,
    history: Sequence[Mapping[str, float]],
    samples_png: bytes | None,
    earlier_png: Sequence[tuple[int, bytes]],
    settings: Mapping[str, Any],
) -> OutputFile:
    """The report; see `render_report`. Raises ModuleNotFoundError without the packages of `report`."""
    from dfad_core.report.card import render_report

    page = render_report(
        result,
        history=history,
        samples_png=samples_png,
        earlier_png=earlier_png,
        settings=settings,
        loading=loading_lines(student),
        title=f"{result.teacher.architecture} to {result.student.architecture}",
    )
    return OutputFile("report", "report.html", "text/html; charset=utf-8", page.encode())


def _report(
    trained: TrainedStudent, spec: Mapping[str, Any], hooks: Hooks, result: JobResult
) -> list[OutputFile]:
    """Page and picture; none, and an event, where the packages of the extra `report` are not installed."""
    training = trained.training
    try:
        from dfad_core.report.picture import png

        picture = None if training.samples is None else png(training.samples)
        report = report_file(
            result,
            student_metadata(trained),
            history=training.history,
            samples_png=picture,
            earlier_png=hooks.pictures,
            settings=spec,
        )
    except ModuleNotFoundError as error:
        text = f"There is no report: {error.name} is missing (pip install 'dfad[report]')."
        hooks.warn("report_missing", {"message": text})
        return []
    files = [report]
    if picture is not None:
        files.append(OutputFile("samples", "samples.png", "image/png", picture))
    return files
