"""Every format of a student, loaded by a fresh process that has that format's runtime alone.

Guards: what a student answers in each format, and that a format that fails costs nothing but itself.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dfad_core.contract.config import InputConfig
from dfad_core.contract.job_result import AccuracyPrediction
from dfad_core.evaluation.held_out import held_out_images
from dfad_core.formats import int8, load_teacher
from dfad_core.formats.export import Export, export
from dfad_core.formats.metadata import StudentMetadata
from dfad_core.formats.safetensors import student_bytes
from dfad_core.networks import build_classifier

ROOT = Path(__file__).resolve().parents[3]
SHAPE = (3, 16, 16)
METADATA = StudentMetadata("resnet8", {"width": 4}, 10, InputConfig(SHAPE), {"method": "best"})

WITHOUT_TORCH = """
import importlib.abc, sys

class No(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in ("torch", "dfad_core"):
            raise ImportError(name)

sys.meta_path.insert(0, No())
import numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
print(session.get_modelmeta().custom_metadata_map["dfad"])
x = numpy.load(sys.argv[2])
numpy.save(sys.argv[3], session.run(["logits"], {"images": x})[0])
"""
WITHOUT_THE_PROJECT = """
import numpy, sys, torch
more = {"dfad.json": ""}
program = torch.export.load(sys.argv[1], extra_files=more).module()
print(more["dfad.json"])
assert "dfad_core" not in sys.modules
numpy.save(sys.argv[3], program(torch.from_numpy(numpy.load(sys.argv[2]))).detach().numpy())
"""


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    built = build_classifier("resnet8", num_classes=10, input_shape=SHAPE, args={"width": 4})
    for module in built.modules():  # statistics as of a training, not 0 and 1
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
            nn.init.normal_(module.running_mean)  # type: ignore[arg-type]
    return built.eval()


@pytest.fixture(scope="module")
def student() -> nn.Module:
    return network(0)


@pytest.fixture(scope="module")
def made(student: nn.Module) -> dict[str, Export]:
    synthetic = held_out_images(SHAPE, 0, None, 0)
    failures: list[str] = []
    found = export(
        ["safetensors", "onnx", "pt2", "int8"],
        student,
        METADATA,
        synthetic[::2],
        synthetic[1::2],
        judged=lambda run: AccuracyPrediction(relative_accuracy=float(run(synthetic[:3]).shape[1])),
        failed=lambda name, why: failures.append(f"{name}: {why}"),
    )
    assert not failures
    return {one.name: one for one in found}


@pytest.mark.parametrize(
    ("name", "script", "least", "most"),
    [
        ("onnx", WITHOUT_TORCH, 1.0, 1e-4),
        ("pt2", WITHOUT_THE_PROJECT, 1.0, 1e-6),
        ("int8", WITHOUT_TORCH, 0.9, 1.0),
    ],
)
@pytest.mark.parametrize("batch", [1, 33])
def test_a_fresh_process_gives_the_same_answers(
    tmp_path: Path, made: dict[str, Export], student: nn.Module, name: str, script: str, least: float,
    most: float, batch: int,
) -> None:  # fmt: skip
    x_BCHW = torch.randn(batch, *SHAPE)
    file, given, answer = tmp_path / f"student.{name}", tmp_path / "x.npy", tmp_path / "y.npy"
    file.write_bytes(made[name].content)
    np.save(given, x_BCHW.numpy())
    command = [sys.executable, "-c", script, str(file), str(given), str(answer)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    with torch.no_grad():
        expected = student(x_BCHW).numpy()
    found = np.load(answer)
    assert found.shape == (batch, 10)
    assert (found.argmax(1) == expected.argmax(1)).mean() >= least - 1 / batch * (name == "int8")
    assert np.abs(found - expected).max() <= most * max(1, np.abs(expected).max())
    assert json.loads(ran.stdout.splitlines()[0])["architecture"] == "resnet8"


def test_figures_say_how_far_the_formats_are_off(made: dict[str, Export]) -> None:
    assert made["onnx"].figures["opset"] == 18
    assert made["onnx"].figures["max_difference"] < 1e-4
    assert made["pt2"].figures["agreement_with_student"] == 1.0
    assert 0.9 < made["int8"].figures["agreement_with_student"] <= 1.0
    assert made["int8"].figures["prediction"]["relative_accuracy"] == 10  # of this file's own answers
    assert "prediction" not in made["onnx"].figures
    assert len(made["int8"].content) < len(made["onnx"].content)
    times, floats = (made["int8"].figures[f"{of}latency_milliseconds"] for of in ("", "float_"))
    assert times.keys() == floats.keys() == {"1", "64"}


@pytest.mark.parametrize(
    ("agreement", "times", "said"),
    [
        (0.96, {"1": 1.0, "64": 9.0}, None),
        (0.37, {"1": 1.0, "64": 9.0}, "another class than the student for 63% of the drawn images"),
        (
            0.96,
            {"1": 3.0, "64": 9.0},
            "ONNX file in float: 3 ms against 2 for a batch of 1",
        ),
    ],
)
def test_a_file_in_eight_bits_says_what_speaks_against_it(
    agreement: float, times: dict[str, float], said: str | None
) -> None:
    found = int8.caution(agreement, times, {"1": 2.0, "64": 10.0})
    assert (found is None) if said is None else (said in str(found))


def test_no_format_tells_of_the_machine_that_made_it(made: dict[str, Export]) -> None:
    for name, one in made.items():
        for word in (str(ROOT), "site-packages", "/tmp/", ", line "):
            assert word.encode() not in one.content, (name, word)


class Fickle(nn.Module):
    """Answers otherwise each time, so that no copy of it is the same."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(12, 3)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_exporting():
            self.calls += 1
        y: Tensor = self.linear(x.flatten(1)) + self.calls
        return y


BY_TRANSFORMERS_ALONE = """
import numpy, sys, torch, zipfile
zipfile.ZipFile(sys.argv[1]).extractall("folder")
from transformers import AutoImageProcessor, AutoModelForImageClassification
model = AutoModelForImageClassification.from_pretrained("folder", local_files_only=True)
assert "dfad_core" not in sys.modules
with torch.no_grad():
    numpy.save(sys.argv[3], model(pixel_values=torch.from_numpy(numpy.load(sys.argv[2]))).logits.numpy())
"""
CONFIGS: dict[str, dict[str, object]] = {
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
    "vit": {
        "patch_size": 4, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 32,
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_config_of_transformers_becomes_a_folder_that_transformers_loads(tmp_path: Path, kind: str) -> None:
    args = {"config": {"model_type": kind, **CONFIGS[kind]}}
    built = build_classifier("transformers", num_classes=10, input_shape=SHAPE, args=args).eval()
    metadata = StudentMetadata("transformers", args, 10, InputConfig(SHAPE, (0.5,) * 3, (0.5,) * 3))
    failures: list[str] = []
    (made,) = export(
        ["huggingface"], built, metadata, *torch.randn(2, 4, *SHAPE), failed=lambda *a: failures.extend(a)
    )
    assert not failures
    assert made.figures["agreement_with_student"] == 1.0
    x_BCHW = torch.randn(5, *SHAPE)
    file, given, answer = tmp_path / "student.zip", tmp_path / "x.npy", tmp_path / "y.npy"
    file.write_bytes(made.content)
    np.save(given, x_BCHW.numpy())
    command = [sys.executable, "-c", BY_TRANSFORMERS_ALONE, str(file), str(given), str(answer)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    with torch.no_grad():
        assert np.abs(np.load(answer) - built(x_BCHW).numpy()).max() < 1e-4
    # And back in, as a teacher.
    again = load_teacher(file)
    assert again.architecture == f"huggingface:{kind}"
    assert (again.input.shape, again.input.mean) == (SHAPE, (0.5,) * 3)
    safetensors = tmp_path / "student.safetensors"
    safetensors.write_bytes(student_bytes(built, metadata))
    loaded = load_teacher(safetensors)
    with torch.no_grad():
        assert torch.equal(loaded.module(x_BCHW), built(x_BCHW))


def test_other_students_have_no_folder(student: nn.Module) -> None:
    failures: dict[str, str] = {}
    images = torch.randn(2, 4, *SHAPE)
    found = export(["huggingface"], student, METADATA, *images, failed=failures.__setitem__)
    assert found == []
    assert "no network of transformers" in failures["huggingface"]


def test_a_format_that_answers_otherwise_is_not_offered() -> None:
    failures: dict[str, str] = {}
    metadata = StudentMetadata("mlp8", {}, 3, InputConfig((1, 8, 8)), {})
    fickle = Fickle()
    fickle.linear = nn.Linear(64, 3)
    found = export(
        ["onnx", "int8", "pt2"],
        fickle,
        metadata,
        *torch.randn(2, 4, 1, 8, 8),
        failed=failures.__setitem__,
    )
    assert found == []
    assert set(failures) == {"onnx", "int8", "pt2"}
    assert "logits differ" in failures["onnx"]
