"""Accuracy on labelled images that come after the end of a job, and the report with it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dfad_core.contract.config import InputConfig
from dfad_core.contract.errors import Stopped
from dfad_core.contract.job_result import JobResult
from dfad_core.contract.serialization import from_json
from dfad_core.formats import LoadedTeacher
from dfad_core.formats.export import export
from dfad_core.formats.labelled import Labelled
from dfad_core.formats.metadata import StudentMetadata
from dfad_core.formats.safetensors import student_bytes
from dfad_core.networks import build_classifier
from dfad_core.report.later_accuracy import FinishedJob, measure_later

SHAPE = (1, 8, 8)
INPUT = InputConfig(SHAPE)
FORMATS = ("onnx", "pt2", "int8")
NETWORK = {"architecture": "mlp8", "latency_milliseconds": None}
RESULT = {"teacher": NETWORK, "student": NETWORK, "compression": 4.0}


def network(seed: int) -> Any:
    torch.manual_seed(seed)
    return build_classifier("mlp8", num_classes=10, input_shape=SHAPE, args={"width": 8}).eval()


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> FinishedJob:
    """A job with all exports; its student is `network(1)`."""
    folder, student = tmp_path_factory.mktemp("students"), network(1)
    metadata = StudentMetadata("mlp8", {"width": 8}, 10, INPUT, {}, ())
    files = {"safetensors": student_bytes(student, metadata)}
    images = torch.rand(64, *SHAPE)
    done = export(FORMATS, student, metadata, images[::2], images[1::2], failed=lambda *_: None)
    files |= {file.name: file.content for file in done}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    settings, history = {"seed": 5}, [{"seconds": s, "student_loss": 1.0} for s in (0.0, 1.0)]
    paths = {name: folder / name for name in files}
    return FinishedJob(from_json(JobResult, RESULT), paths, settings, history, [(1, b"early"), (9, b"last")])


@pytest.fixture
def labelled() -> Labelled:
    """Images with the classes that the student gives them."""
    images = torch.rand(40, *SHAPE, generator=torch.Generator().manual_seed(0))
    return Labelled(images, network(1)(images).argmax(1), INPUT, "40 labelled images", ("A note.",))


def teacher(module: Any) -> LoadedTeacher:
    return LoadedTeacher(module, "mlp8", {"width": 8}, 10, INPUT, "safetensors", [])


def test_teacher_student_and_exports_on_the_same_images(job: FinishedJob, labelled: Labelled) -> None:
    result, report = measure_later(teacher(network(2)), labelled, job)
    accuracy = result.accuracy
    assert accuracy is not None
    expected = float((network(2)(labelled.images_NCHW).argmax(1) == labelled.labels_N).double().mean())
    assert (accuracy.student, accuracy.teacher) == (1.0, expected)
    assert accuracy.exports.keys() == set(FORMATS)
    assert accuracy.exports["onnx"] == accuracy.exports["pt2"] == 1.0
    assert accuracy.exports["int8"] > 0.5
    assert (accuracy.images, accuracy.notes[0]) == (40, "A note.")
    assert result.compression == 4.0, "the rest of the result stays"
    page = report.content.decode()
    assert "On 40 labelled images: teacher" in page
    assert "student 100.00 %, as onnx 100.00 %" in page
    assert "bGFzdA==" in page, "the last picture"
    assert "<svg" in page
    assert "&#34;seed&#34;: 5" in page


def test_every_batch_may_end_it(job: FinishedJob, labelled: Labelled) -> None:
    def stop() -> None:
        raise Stopped("shutdown")

    with pytest.raises(Stopped):
        measure_later(teacher(network(2)), labelled, job, stop)


def test_an_export_that_cannot_be_run_here_is_noted(
    job: FinishedJob, labelled: Labelled, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(content: bytes) -> Any:
        raise ModuleNotFoundError("no", name="onnxruntime")

    monkeypatch.setattr("dfad_core.formats.onnx.read_student", missing)
    result, _ = measure_later(teacher(network(2)), labelled, job)
    assert result.accuracy is not None
    assert result.accuracy.exports.keys() == {"pt2", "int8"}
    assert "onnxruntime is missing" in result.accuracy.notes[-1]
