"""Students and teachers by transformers' configs and libraries' names.

Guards: that what cannot be built is refused with a reason. tests/vision builds networks of the libraries.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch

from dfad_core.contract import transformers_config
from dfad_core.contract.architectures import get_architecture
from dfad_core.contract.errors import ConfigError, DfadError, ShapeError
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
        ({"model_type": "cvt", "depth": [200, 200, 200]}, "depth"),
        ({"model_type": "efficientnet", "num_block_repeats": [512] * 2}, "num_block_repeats"),
        ({"model_type": "efficientnet", "depth_coefficient": 1000}, "depth_coefficient"),
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


@pytest.mark.parametrize(
    ("module", "name"), [("timm", "timm:resnet18"), ("torchvision.models", "torchvision:regnet_y_400mf")]
)
def test_without_its_library_a_name_is_refused(
    module: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match="not installed"):
        build_classifier(name, num_classes=5, input_shape=(3, 16, 16))


@pytest.mark.parametrize(
    "name", ["timm:", "timm:hf-hub:a/b", "timm:local-dir:/etc", "timm:../x", "timm:A", "torchvision:a.b"]
)
def test_names_that_would_lead_elsewhere(name: str) -> None:
    with pytest.raises(ConfigError, match="unknown architecture"):
        get_architecture(name)
