"""Students and teachers by transformers' configs and timm's names.

Guards: that what cannot be built is refused with a reason, and that timm is asked for no weights.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from dfad_core.contract import transformers_config
from dfad_core.contract.architectures import get_architecture
from dfad_core.contract.errors import ConfigError, DfadError, ShapeError
from dfad_core.formats import load_teacher
from dfad_core.networks import build_classifier

TINY: dict[str, Any] = {
    "model_type": "resnet",
    "embedding_size": 4,
    "hidden_sizes": [4],
    "depths": [1],
    "layer_type": "basic",
}


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        ({}, "model_type"),
        ({"model_type": "bert"}, "model_type"),
        ({"model_type": ["vit"]}, "model_type"),
        ({"model_type": "vit", "auto_map": {"AutoModel": "evil.Net"}}, "auto_map"),
        ({"model_type": "vit", "hidden_size": 10**9}, "hidden_size"),
        ({"model_type": "vit", "num_hidden_layers": 5000}, "num_hidden_layers"),
        ({"model_type": "vit", "x": [[[[1]]]]}, "x"),
        ({"model_type": "vit", **{f"a{i}": 1 for i in range(300)}}, "model_type"),
    ],
)
def test_configs_that_no_student_has(raw: dict[str, Any], param: str) -> None:
    with pytest.raises(ConfigError) as caught:
        transformers_config.checked(raw)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "vit", "no_such_setting": 1},
        {"model_type": "vit", "hidden_size": 8192, "num_hidden_layers": 100, "intermediate_size": 65536},
        {"model_type": "vit", "patch_size": 64},
        {"model_type": "resnet", "layer_type": "none of these"},
    ],
)
def test_networks_that_cannot_be(config: dict[str, Any]) -> None:
    with pytest.raises(DfadError) as caught:
        build_classifier("transformers", num_classes=3, input_shape=(3, 16, 16), args={"config": config})
    assert isinstance(caught.value, ConfigError | ShapeError)


def test_classes_and_channels_follow_from_the_teacher() -> None:
    built = build_classifier("transformers", num_classes=7, input_shape=(1, 12, 12), args={"config": TINY})
    assert built(torch.zeros(2, 1, 12, 12)).shape == (2, 7)


class Ours(nn.Module):
    """In the place of a network of timm."""

    def __init__(self, in_chans: int, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_chans, 4, 3)
        self.fc = nn.Linear(4, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.fc(self.stem(x).mean((2, 3)))
        return y


def stand_in(asked: list[dict[str, Any]]) -> ModuleType:
    module = ModuleType("timm")

    def create_model(name: str, *, pretrained: bool, num_classes: int, in_chans: int) -> nn.Module:
        if name != "tiny":
            raise RuntimeError("Unknown model")
        asked.append({"pretrained": pretrained})
        return Ours(in_chans, num_classes)

    module.create_model = create_model  # type: ignore[attr-defined]
    return module


def test_a_state_dict_of_timm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setitem(sys.modules, "timm", stand_in(asked))
    network = Ours(1, 5).eval()
    torch.save(network.state_dict(), tmp_path / "t.pt")
    found = load_teacher(tmp_path / "t.pt", architecture="timm:tiny")
    assert (found.architecture, found.num_classes, found.input.shape) == ("timm:tiny", 5, (1, 224, 224))
    x_BCHW = torch.randn(2, 1, 224, 224)
    with torch.no_grad():
        assert torch.equal(found.module(x_BCHW), network(x_BCHW))
    assert all(one == {"pretrained": False} for one in asked)
    with pytest.raises(ConfigError, match="timm cannot build"):
        build_classifier("timm:other", num_classes=5, input_shape=(3, 16, 16))


def test_without_timm_its_names_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match="not installed"):
        build_classifier("timm:resnet18", num_classes=5, input_shape=(3, 16, 16))


@pytest.mark.parametrize("name", ["timm:", "timm:hf-hub:a/b", "timm:local-dir:/etc", "timm:../x", "timm:A"])
def test_names_that_would_lead_elsewhere(name: str) -> None:
    with pytest.raises(ConfigError, match="unknown architecture"):
        get_architecture(name)
