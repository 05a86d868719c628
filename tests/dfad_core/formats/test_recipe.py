"""The recipe for a network of one's own: what every such refusal prints, on networks as people write them.

Guards: that it reads for each family, keeps batch norm and parameters, gives the same answers at any batch,
and that every refusal that means "not in our catalogue" ends in it.
"""

from __future__ import annotations

import logging
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

pytest.importorskip("onnxscript")

from dfad_core.contract.errors import TeacherRejected
from dfad_core.contract.own_network import CALL, OWN_NETWORK
from dfad_core.formats import load_teacher
from dfad_core.networks import build_classifier
from dfad_core.networks.batch_norm import bn_layers, recalibrate

SHAPE = (3, 32, 32)


class Residual(nn.Module):
    """A ResNet's basic block."""

    def __init__(self, given: int, made: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(given, made, 3, stride, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(made), nn.BatchNorm2d(made)
        self.conv2 = nn.Conv2d(made, made, 3, 1, 1, bias=False)
        self.down = nn.Sequential(nn.Conv2d(given, made, 1, stride, bias=False), nn.BatchNorm2d(made))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.down(x))


class Squeeze(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, width: int, gate: nn.Module) -> None:
        super().__init__()
        self.fc1, self.fc2, self.gate = nn.Conv2d(width, 4, 1), nn.Conv2d(4, width, 1), gate

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.fc2(F.relu(self.fc1(F.adaptive_avg_pool2d(x, 1)))))


class Inverted(nn.Module):
    """An inverted residual block, of MobileNets and EfficientNets."""

    def __init__(self, width: int, act: type[nn.Module], gate: nn.Module | None) -> None:
        super().__init__()
        wide = 2 * width
        self.body = nn.Sequential(
            nn.Conv2d(width, wide, 1, bias=False), nn.BatchNorm2d(wide), act(),
            nn.Conv2d(wide, wide, 3, 1, 1, groups=wide, bias=False), nn.BatchNorm2d(wide), act(),
            Squeeze(wide, gate) if gate is not None else nn.Identity(),
            nn.Conv2d(wide, width, 1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Dense(nn.Module):
    """A DenseNet's layer: its input, and new features behind it."""

    def __init__(self, given: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(given), nn.Conv2d(given, 4, 3, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(F.relu(self.norm(x)))], 1)


class Next(nn.Module):
    """A ConvNeXt's block, with layer scale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 7, padding=3, groups=width), nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x).permute(0, 2, 3, 1))
        return x + (self.scale * self.fc2(F.gelu(self.fc1(y)))).permute(0, 3, 1, 2)


class Vit(nn.Module):
    """A vision transformer with a class token, of torch's own layers."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.places = nn.Parameter(torch.randn(1, 17, 16))
        self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), tokens], 1) + self.places
        y = self.norm1(tokens)
        tokens = tokens + self.attention(y, y, y, need_weights=False)[0]
        tokens = tokens + self.mlp(self.norm2(tokens))
        return self.head(tokens[:, 0])


def classifier(*body: nn.Module, width: int = 8, act: type[nn.Module] = nn.ReLU) -> nn.Module:
    """A stem with batch norm, the body, and a head."""
    stem = (nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), act(), nn.MaxPool2d(3, 2, 1))
    return nn.Sequential(
        *stem, *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(width, 10)
    )


def resnet() -> nn.Module:
    return classifier(Residual(8, 8, 1), Residual(8, 16, 2), width=16)


NETWORKS = {
    "resnet": resnet,
    "mobilenet_v2": lambda: classifier(Inverted(8, nn.ReLU6, None), act=nn.ReLU6),
    "mobilenet_v3": lambda: classifier(Inverted(8, nn.Hardswish, nn.Hardsigmoid()), act=nn.Hardswish),
    "efficientnet": lambda: classifier(Inverted(8, nn.SiLU, nn.Sigmoid()), act=nn.SiLU),
    "densenet": lambda: classifier(Dense(8), Dense(12), nn.AvgPool2d(2), width=16),
    "convnext": lambda: classifier(Next(8), nn.GroupNorm(1, 8), Next(8), act=nn.GELU),
    "vit": Vit,
}


def follow(
    model: nn.Module, x: Tensor, folder: Path, monkeypatch: pytest.MonkeyPatch, call: str = CALL
) -> Path:
    """Run the recipe's own line, or that of a refusal."""
    monkeypatch.chdir(folder)
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(call, {"torch": torch, "model": model, "x": x})
    finally:
        logging.disable(logging.NOTSET)
    return folder / "teacher.onnx"


@pytest.mark.parametrize("name", NETWORKS)
def test_the_recipe(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model: Any = NETWORKS[name]()
    if bn_layers(model):
        recalibrate(model, [torch.randn(16, *SHAPE)])
    file = follow(model, torch.zeros(1, *SHAPE), tmp_path, monkeypatch)
    assert [path.name for path in tmp_path.iterdir()] == ["teacher.onnx"]
    teacher = load_teacher(file)
    assert (teacher.notes, teacher.input.shape, teacher.num_classes) == ([], SHAPE, 10)
    assert len(bn_layers(teacher.module)) == len(bn_layers(model))
    x_BCHW = torch.randn(3, *SHAPE)
    with torch.no_grad():
        torch.testing.assert_close(teacher.module(x_BCHW), model(x_BCHW), rtol=1e-3, atol=1e-4)


class Windows(nn.Module):
    """Windows of an image, each with a constant of its own, as a Swin's masks; the batch is folded in."""

    def __init__(self) -> None:
        super().__init__()
        self.body = classifier(Next(8))
        self.mask = nn.Parameter(torch.randn(4, 3, SHAPE[1] // 2, SHAPE[2] // 2))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        batch, channels, height, width = x_BCHW.shape
        x = x_BCHW.reshape(batch, channels, 2, height // 2, 2, width // 2).permute(0, 2, 4, 1, 3, 5)
        windows = x.reshape(batch * 4, channels, height // 2, width // 2) + self.mask.repeat(batch, 1, 1, 1)
        whole = windows.reshape(batch, 2, 2, channels, height // 2, width // 2).permute(0, 3, 1, 4, 2, 5)
        logits: Tensor = self.body(whole.reshape(x_BCHW.shape))
        return logits


def test_the_refusal_of_a_graph_for_one_image_names_a_call_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Windows()
    with pytest.raises(TeacherRejected) as refused:
        load_teacher(follow(model, torch.zeros(1, *SHAPE), tmp_path, monkeypatch))
    assert refused.value.code == "fixed_batch"
    call = CALL[:-1] + ', dynamic_shapes=({0: "batch"},))'
    assert refused.value.message.endswith(f"with an x of two images: {call}")
    teacher = load_teacher(follow(model, torch.zeros(2, *SHAPE), tmp_path, monkeypatch, call))
    x_BCHW = torch.randn(3, *SHAPE)
    with torch.no_grad():
        torch.testing.assert_close(teacher.module(x_BCHW), model(x_BCHW), rtol=1e-3, atol=1e-4)


def torchscript(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(str(path))


def folder(path: Path, config: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config)


def layers_beside_a_backbone(path: Path) -> None:
    known = build_classifier("mlp8", num_classes=3, input_shape=(1, 8, 8), args={"width": 4}).state_dict()
    state = {f"backbone.{name}": tensor for name, tensor in known.items()}
    torch.save({**state, "head.weight": torch.randn(5, 3)}, path)


REFUSED: dict[str, Any] = {
    "state dict": lambda path: torch.save(resnet().state_dict(), path),
    "whole model": lambda path: torch.save(nn.Linear(2, 2), path),
    "whole model, of old": lambda path: torch.save(
        nn.Linear(2, 2), path, _use_new_zipfile_serialization=False
    ),
    "bare pickle": lambda path: path.write_bytes(pickle.dumps([1, 2])),
    "layers beside a backbone": layers_beside_a_backbone,
    "folder of no model type": lambda path: folder(path, b"{}"),
    "folder of another model type": lambda path: folder(path, b'{"model_type": "own"}'),
    "TorchScript": torchscript,
    "exported program": lambda path: torch.export.save(
        torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),)), path
    ),
    "Keras": lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_end_in_the_recipe(name: str, tmp_path: Path) -> None:
    path = tmp_path / ("t.pt2" if name == "exported program" else "t")
    REFUSED[name](path)
    with pytest.raises(TeacherRejected) as caught:
        load_teacher(path)
    if name != "Keras":  # no network of PyTorch
        assert caught.value.message.endswith(OWN_NETWORK)
    assert "state_dict()" not in caught.value.message
