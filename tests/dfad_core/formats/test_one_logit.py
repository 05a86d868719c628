"""Yes-or-no classifiers with one logit z, in every format: read with the two logits [0, z].

Guards: that the probabilities stay, that a note says it, and that networks of other problems are refused.
"""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from dfad_core.contract.config import InputConfig
from dfad_core.contract.errors import TeacherRejected
from dfad_core.contract.formats import TEACHER_FORMATS
from dfad_core.formats import load_teacher
from dfad_core.formats.converted import read_converted, write_converted
from dfad_core.formats.interface import ONE_LOGIT
from dfad_core.formats.safetensors import save_student
from dfad_core.networks import build_classifier

SHAPE = (1, 8, 8)
VIT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


class Network(nn.Module):
    """A logit for an image, with what comes behind it."""

    def __init__(self, tail: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.head, self.tail = nn.Conv2d(1, 4, 3), nn.Linear(4, 1), tail

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.tail(self.head(self.convolution(x_BCHW).relu().mean((2, 3))))


def cnn8() -> nn.Module:
    torch.manual_seed(0)
    return build_classifier("cnn8", num_classes=1, input_shape=SHAPE, args={"width": 4}).eval()


def pickled(path: Path) -> None:
    torch.save({"model": cnn8().state_dict(), "epoch": 3}, path)


def tensors(path: Path) -> None:
    save_file(cnn8().state_dict(), path)


def of_this_project(path: Path) -> None:
    about: dict[str, Any] = {"architecture": "cnn8", "args": {"width": 4}, "num_classes": 1}
    save_student(path, cnn8(), **about, input=InputConfig(SHAPE))


def exported(path: Path, tail: Callable[[Tensor], Tensor], **options: Any) -> None:
    pytest.importorskip("onnx")
    free = {"input_names": ["x"], "dynamic_axes": {"x": {0: "batch"}}}
    images = torch.randn(1, *SHAPE)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(Network(tail).eval(), (images,), path, dynamo=False, **(free | options))


def folder(path: Path, *, packed: str, **config: Any) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    about = transformers.ViTConfig(**VIT, image_size=8, patch_size=4, num_channels=1, num_labels=1)
    saved = path.with_name("saved")
    transformers.ViTForImageClassification(about).save_pretrained(saved)
    read = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(read | config))
    if packed == "tar":
        with tarfile.open(path, "w") as archive:
            archive.add(saved, "model")
        return
    with zipfile.ZipFile(path, "w") as files:
        for file in saved.iterdir():
            files.write(file, file.name)


FIXED = {"dynamic_axes": None}
FILES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "state dict": ("state_dict_pt", pickled),
    "safetensors": ("safetensors", tensors),
    "student of this project": ("safetensors", of_this_project),
    "(B, 1)": ("onnx", lambda path: exported(path, nn.Identity())),
    "(B, 1), one image alone": ("onnx", lambda path: exported(path, nn.Identity(), **FIXED)),
    "probability": ("onnx", lambda path: exported(path, torch.sigmoid)),
    "(B,)": ("onnx", lambda path: exported(path, lambda z: z.squeeze(1))),
    "probability (B,)": ("onnx", lambda path: exported(path, lambda z: z.sigmoid().squeeze(1))),
    "(B, 1, 1, 1)": ("onnx", lambda path: exported(path, lambda z: z[:, :, None, None])),
    "zip": ("huggingface", lambda path: folder(path, packed="zip")),
    "tar": ("huggingface", lambda path: folder(path, packed="tar")),
    "num_labels": ("huggingface", lambda path: folder(path, packed="zip", id2label=None, num_labels=1)),
}
"""How a classifier with one logit is written, by format."""


def test_no_format_is_left_out() -> None:
    assert {file_format for file_format, _ in FILES.values()} == set(TEACHER_FORMATS)


@pytest.mark.parametrize("name", FILES)
def test_one_logit_becomes_two(name: str, tmp_path: Path) -> None:
    FILES[name][1](tmp_path / "teacher")
    x_BCHW = torch.randn(5, *SHAPE)
    for num_classes in (None, 1, 2):
        teacher = load_teacher(tmp_path / "teacher", num_classes=num_classes)
        assert (teacher.num_classes, ONE_LOGIT in teacher.notes) == (2, True)
        with torch.no_grad():
            logits = teacher.module(x_BCHW)
        assert logits.shape == (5, 2)
        assert not bool(logits[:, 0].any())
        assert bool(logits[:, 1].any())
    write_converted(teacher, tmp_path / "converted")
    with torch.no_grad():
        assert torch.equal(read_converted(tmp_path / "converted").module(x_BCHW), logits)
    with pytest.raises(TeacherRejected) as refused:
        load_teacher(tmp_path / "teacher", num_classes=3)
    assert refused.value.code == "architecture_mismatch"
    assert "has 2 classes, not 3" in refused.value.message


def test_the_same_yes(tmp_path: Path) -> None:
    for name, network in (("state dict", cnn8()), ("probability", Network(nn.Identity()))):
        FILES[name][1](tmp_path / "teacher")
        teacher = load_teacher(tmp_path / "teacher")
        x_BCHW = torch.randn(4, *SHAPE)
        with torch.no_grad():
            yes_B = network(x_BCHW).sigmoid().squeeze(1)
            torch.testing.assert_close(teacher.module(x_BCHW).softmax(1)[:, 1], yes_B)


@pytest.mark.parametrize("name", ["state dict", "safetensors", "student of this project"])
def test_with_the_architecture_named(name: str, tmp_path: Path) -> None:
    FILES[name][1](tmp_path / "teacher")
    for num_classes in (None, 1, 2):
        teacher = load_teacher(tmp_path / "teacher", architecture="cnn8", num_classes=num_classes)
        assert (teacher.architecture, teacher.num_classes) == ("cnn8", 2)


def test_an_answer_that_is_always_yes(tmp_path: Path) -> None:
    exported(tmp_path / "teacher", nn.Softmax(1))
    with pytest.raises(TeacherRejected, match="always yes") as refused:
        load_teacher(tmp_path / "teacher")
    assert refused.value.code == "one_logit"


@pytest.mark.parametrize(
    ("problem", "code"), [("multi_label_classification", "multi_label"), ("regression", "not_a_classifier")]
)
def test_other_problems_than_one_class_of_several(problem: str, code: str, tmp_path: Path) -> None:
    folder(tmp_path / "teacher", packed="zip", problem_type=problem)
    with pytest.raises(TeacherRejected) as refused:
        load_teacher(tmp_path / "teacher")
    assert refused.value.code == code


def test_one_class_of_several_is_a_wrong_number(tmp_path: Path) -> None:
    """It is the caller who errs then: the file's head has ten rows."""
    module = build_classifier("cnn8", num_classes=10, input_shape=SHAPE, args={"width": 4})
    save_file(module.state_dict(), tmp_path / "teacher")
    with pytest.raises(TeacherRejected) as refused:
        load_teacher(tmp_path / "teacher", architecture="cnn8", num_classes=1)
    assert refused.value.code == "architecture_mismatch"
