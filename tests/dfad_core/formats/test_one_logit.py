"""Yes-or-no classifiers with one logit: refused in every format, and read once they have two.

Guards: that no format lets one through, for every job of it would fail, and that what the refusal advises
works.
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
    "softmax": ("onnx", lambda path: exported(path, nn.Softmax(1))),
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


@pytest.mark.parametrize("num_classes", [None, 1, 2])
@pytest.mark.parametrize("name", FILES)
def test_one_logit_is_refused(name: str, num_classes: int | None, tmp_path: Path) -> None:
    FILES[name][1](tmp_path / "teacher")
    with pytest.raises(TeacherRejected) as refused:
        load_teacher(tmp_path / "teacher", num_classes=num_classes)
    assert refused.value.code == "one_logit", refused.value.message
    assert all(word in refused.value.message for word in ("one logit", "with two", "(0, z)"))


@pytest.mark.parametrize("name", ["state dict", "safetensors", "student of this project"])
def test_with_the_architecture_named(name: str, tmp_path: Path) -> None:
    FILES[name][1](tmp_path / "teacher")
    for num_classes in (None, 1, 2):
        with pytest.raises(TeacherRejected) as refused:
            load_teacher(tmp_path / "teacher", architecture="cnn8", num_classes=num_classes)
        assert refused.value.code == "one_logit", refused.value.message


def test_one_class_of_several_is_a_wrong_number(tmp_path: Path) -> None:
    """It is the caller who errs then: the file's head has ten rows."""
    module = build_classifier("cnn8", num_classes=10, input_shape=SHAPE, args={"width": 4})
    save_file(module.state_dict(), tmp_path / "teacher")
    with pytest.raises(TeacherRejected) as refused:
        load_teacher(tmp_path / "teacher", architecture="cnn8", num_classes=1)
    assert refused.value.code == "architecture_mismatch"


def test_the_pair_that_is_advised_answers_alike(tmp_path: Path) -> None:
    exported(tmp_path / "pair", lambda z: torch.cat([torch.zeros_like(z), z], 1))
    pair = load_teacher(tmp_path / "pair")
    single = cnn8()
    state = single.state_dict()
    head = {name for name in state if state[name].shape[:1] == (1,) and name.startswith("linear")}
    assert head == {"linear.weight", "linear.bias"}
    two = {n: torch.cat([torch.zeros_like(t), t]) if n in head else t for n, t in state.items()}
    save_file(two, tmp_path / "two")
    weights = load_teacher(tmp_path / "two")
    assert (pair.num_classes, weights.num_classes) == (2, 2)
    x_BCHW = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for teacher, network in ((pair, Network(nn.Identity())), (weights, single)):
            yes_B = network(x_BCHW).sigmoid().squeeze(1)
            torch.testing.assert_close(teacher.module(x_BCHW).softmax(1)[:, 1], yes_B)
