"""Folders that timm writes: read by their config's own words, and refused where those say more than is read.

tests/vision reads folders that timm itself has written.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import nn

from dfad_core.contract.config import InputConfig
from dfad_core.contract.errors import TeacherRejected
from dfad_core.contract.own_network import CALL
from dfad_core.formats import LoadedTeacher, load_teacher
from dfad_core.formats.converted import read_converted, write_converted
from dfad_core.networks import build_classifier

PRETRAINED = {"input_size": [3, 64, 64], "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]}
CONFIG: dict[str, Any] = {
    "architecture": "resnet18",
    "num_classes": 3,
    "global_pool": "avg",
    "label_names": ["ant", "bee", "cat"],
    "pretrained_cfg": PRETRAINED,
}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return build_classifier("torchvision:resnet18", num_classes=3, input_shape=(3, 64, 64)).eval()


def read(
    config: dict[str, Any], network: nn.Module, folder: Path, prefix: str = "", **more: torch.Tensor
) -> LoadedTeacher:
    tensors = {f"{prefix}{name}": tensor for name, tensor in network.state_dict().items()} | more
    with zipfile.ZipFile(folder / "t.zip", "w") as archive:
        archive.writestr("m/config.json", json.dumps(config))
        archive.writestr("m/model.safetensors", save(tensors))
    return load_teacher(folder / "t.zip")


@pytest.mark.parametrize(
    ("changes", "prefix"),
    [
        ({}, ""),
        ({"architecture": "resnet18.a1_in1k"}, ""),
        ({"model_type": "timm_wrapper"}, "timm_model."),
        ({"model_args": {"num_classes": 3, "in_chans": 3, "drop_rate": 0.1, "global_pool": "avg"}}, ""),
        ({"pretrained_cfg": None, **PRETRAINED}, ""),
    ],
)
def test_a_folder_is_read_by_its_config(
    changes: dict[str, Any], prefix: str, network: nn.Module, tmp_path: Path
) -> None:
    teacher = read(CONFIG | changes, network, tmp_path, prefix)
    assert (teacher.architecture, teacher.num_classes) == ("torchvision:resnet18", 3)
    assert teacher.input == InputConfig((3, 64, 64), (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    assert not teacher.input_assumed
    assert teacher.class_names == ("ant", "bee", "cat")
    write_converted(teacher, tmp_path / "t.safetensors")
    x_BCHW = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(teacher.module(x_BCHW), network(x_BCHW))
        torch.testing.assert_close(read_converted(tmp_path / "t.safetensors").module(x_BCHW), network(x_BCHW))


def test_without_a_size_one_is_assumed_and_said(network: nn.Module, tmp_path: Path) -> None:
    teacher = read(CONFIG | {"pretrained_cfg": None}, network, tmp_path)
    assert teacher.input_assumed
    assert any("224" in note for note in teacher.notes)
    assert any("mean and std" in note for note in teacher.notes)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"architecture": "not_a_network_of_timm"}, "architecture"),
        ({"architecture": "hf-hub:somebody/resnet"}, "architecture"),
        ({"architecture": "../resnet18"}, "architecture"),
        ({"model_args": {"output_stride": 8}}, "model_args"),
        ({"global_pool": "catavgmax"}, "global_pool"),
        ({"global_pool": None, "model_args": {"global_pool": "max"}}, "global_pool"),
        ({"model_args": {"global_pool": ["max"]}}, "global_pool"),
    ],
)
def test_what_the_config_says_beyond_that_is_refused_with_the_recipe(
    changes: dict[str, Any], param: str, network: nn.Module, tmp_path: Path
) -> None:
    with pytest.raises(TeacherRejected) as refused:
        read(CONFIG | changes, network, tmp_path)
    assert (refused.value.code, refused.value.param) == ("unsupported_architecture", param)
    assert CALL in refused.value.message


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"model_args": [1]}, "corrupt_file"),
        ({"pretrained_cfg": {"input_size": "large"}}, "input_required"),
        ({"pretrained_cfg": {"input_size": [3, 64, 64], "mean": [0.5], "std": ["x"]}}, "input_required"),
        ({"pretrained_cfg": "none"}, "input_required"),
        ({"pretrained_cfg": {"input_size": [3, float("inf"), 64]}}, "input_required"),
        ({"pretrained_cfg": {"input_size": "388"}}, "input_required"),
        ({"pretrained_cfg": {"input_size": [3, 64.9, 64]}}, "input_required"),
        ({"pretrained_cfg": {"input_size": [3, 64, 64], "mean": [10**400, 0, 0]}}, "input_required"),
        ({"pretrained_cfg": {"input_size": [3, 64, 64], "mean": "123", "std": "123"}}, "input_required"),
        ({"architecture": "resnet34"}, "architecture_mismatch"),
        ({"num_classes": 1000}, "architecture_mismatch"),
        ({"model_args": {"num_classes": [1]}}, "architecture_mismatch"),
        ({"auto_map": {"AutoModel": "m.E"}}, "remote_code_refused"),
        ({"problem_type": "multi_label_classification"}, "multi_label"),
        ({"problem_type": "regression"}, "not_a_classifier"),
        ({"quantization_config": {"bits": 8}}, "tensor_layout"),
    ],
)
def test_a_damaged_folder(changes: dict[str, Any], code: str, network: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(TeacherRejected) as refused:
        read(CONFIG | changes, network, tmp_path)
    assert refused.value.code == code


def test_the_same_names_with_and_without_the_wrappers(network: nn.Module, tmp_path: Path) -> None:
    doubled = {f"timm_model.{name}": 2 * tensor for name, tensor in network.state_dict().items()}
    with pytest.raises(TeacherRejected) as refused:
        read(CONFIG, network, tmp_path, **doubled)
    assert refused.value.code == "weights_required"
