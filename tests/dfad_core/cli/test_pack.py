"""`pack`: a network of one's own, from its code to a teacher."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("onnxscript")

from dfad_core.cli.program import main
from dfad_core.contract.own_network import PACK
from dfad_core.formats import load_teacher

MODEL = """
from torch import nn
from widths import WIDTH

def build():
    return nn.Sequential(
        nn.Conv2d(3, WIDTH, 3, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(WIDTH, 5),
    )

def sure():
    return nn.Sequential(build(), nn.Softmax(1))

def yes_or_no():
    return nn.Sequential(build(), nn.Linear(5, 1), nn.Sigmoid())

def broken():
    raise KeyError("nothing")

number = int
"""


def packed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code, and the last line's data."""
    code = main(["pack", '--input={"shape": [3, 16, 16]}', *arguments])
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])["data"]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_model.py").write_text(MODEL)
    (tmp_path / "widths.py").write_text("WIDTH = 6")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_network_with_its_weights(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its weights, in a training script's wrapping, come through, and so does its batch norm."""
    namespace: dict[str, Any] = {}
    (model / "own_model.py").write_text(MODEL.replace("from widths import WIDTH", "WIDTH = 6"))
    exec((model / "own_model.py").read_text(), namespace)
    network = namespace["build"]().eval()
    torch.save({"state_dict": {f"module.{n}": t for n, t in network.state_dict().items()}}, model / "w.pt")
    code, found = packed(capsys, "own_model.py:build", "--weights=w.pt", "--output=out/t.onnx")
    assert (code, found["path"], found["bn_layers"], found["num_classes"]) == (0, "out/t.onnx", 1, 5)
    assert found["parameters"] == sum(p.numel() for p in network.parameters())
    teacher = load_teacher(model / "out/t.onnx")
    x_BCHW = torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(teacher.module(x_BCHW), network(x_BCHW), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["own_model.py"], "model.py:build"),
        (["absent.py:build"], "model.py:build"),
        (["own_model.py:broken"], "KeyError"),
        (["own_model.py:absent"], "absent"),
        (["own_model.py:number"], "not a torch.nn.Module"),
        (["own_model.py:build", "--weights=w.pt"], "Missing key"),
    ],
)
def test_what_cannot_be_built(
    model: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    torch.save({"a": torch.zeros(1)}, model / "w.pt")
    code, found = packed(capsys, *arguments)
    assert (code, words in found["message"]) == (2, True)


SWIN = """
from torch import nn
from transformers import SwinConfig, SwinForImageClassification

class Logits(nn.Module):
    def __init__(self):
        super().__init__()
        sizes = {"depths": [1, 1], "num_heads": [2, 4], "embed_dim": 16, "window_size": 4}
        self.net = SwinForImageClassification(SwinConfig(image_size=32, patch_size=4, num_labels=5, **sizes))

    def forward(self, images):
        return self.net(pixel_values=images).logits
"""


def test_a_network_whose_fused_attention_pytorch_cannot_export(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (model / "swin.py").write_text(SWIN)
    image = '{"shape": [3, 32, 32]}'
    code, found = packed(capsys, f"--input={image}", "swin.py:Logits", "--output=t.onnx")
    assert (code, found["num_classes"]) == (0, 5)


def test_the_recipe_names_the_command() -> None:
    assert PACK.startswith("dfad pack model.py:build --weights w.pt --input 3x224x224 -o ")


@pytest.mark.parametrize(("name", "classes"), [("sure", 5), ("yes_or_no", 2)])
def test_probabilities_at_the_end_are_compared_as_such(
    model: Path, capsys: pytest.CaptureFixture[str], name: str, classes: int
) -> None:
    code, found = packed(capsys, f"own_model.py:{name}", "--output=t.onnx")
    assert (code, found["num_classes"]) == (0, classes)
    assert 0 <= found["max_difference"] < 1e-4
