"""Folders as timm and transformers' timm_wrapper write them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from dfad_core.contract.errors import TeacherRejected
from dfad_core.formats import LoadedTeacher, load_teacher

timm = pytest.importorskip("timm", reason="timm is not installed (make test-vision)")


def packed(folder: Path) -> Path:
    return Path(shutil.make_archive(str(folder), "zip", folder))


def require_same(teacher: LoadedTeacher, network: nn.Module, x_BCHW: torch.Tensor) -> None:
    with torch.no_grad():
        torch.testing.assert_close(teacher.module(x_BCHW), network.eval()(x_BCHW), rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        ("resnet18", "torchvision:resnet18"),
        ("resnet50", "torchvision:resnet50"),
        ("densenet121", "torchvision:densenet121"),
        ("resnet10t", "timm:resnet10t"),
        ("vit_tiny_patch16_224", "timm:vit_tiny_patch16_224"),
        ("mobilenetv3_small_050", "timm:mobilenetv3_small_050"),
    ],
)
def test_a_folder_of_timm(name: str, architecture: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=5)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.normal_(0, 0.1)
    timm.models.save_for_hf(network, tmp_path / "m")
    teacher = load_teacher(packed(tmp_path / "m"))
    assert (teacher.architecture, teacher.num_classes) == (architecture, 5)
    assert (teacher.input.mean, teacher.input_assumed) == (network.pretrained_cfg["mean"], False)
    require_same(teacher, network, torch.randn(2, *teacher.input.shape))


def test_a_wrapper_of_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.TimmWrapperConfig(architecture="resnet10t", num_labels=5)
    wrapper = transformers.AutoModelForImageClassification.from_config(config)
    wrapper.save_pretrained(tmp_path / "m")
    teacher = load_teacher(packed(tmp_path / "m"))
    assert (teacher.architecture, teacher.num_classes) == ("timm:resnet10t", 5)
    require_same(teacher, wrapper.timm_model, torch.randn(2, 3, 64, 64))


def test_another_pooling_than_the_usual_is_refused(tmp_path: Path) -> None:
    timm.models.save_for_hf(timm.create_model("resnet10t", num_classes=5, global_pool="max"), tmp_path / "m")
    with pytest.raises(TeacherRejected) as refused:
        load_teacher(packed(tmp_path / "m"))
    assert refused.value.param == "global_pool"


def test_a_network_whose_tensors_are_named_as_anothers(tmp_path: Path) -> None:
    timm.models.save_for_hf(timm.create_model("resnetblur18", num_classes=5), tmp_path / "m")
    assert load_teacher(packed(tmp_path / "m")).architecture == "timm:resnetblur18"


def test_a_size_that_the_network_does_not_take(tmp_path: Path) -> None:
    network = timm.create_model("inception_v3", num_classes=5)
    network.pretrained_cfg["input_size"] = (3, 8, 8)
    timm.models.save_for_hf(network, tmp_path / "m")
    with pytest.raises(TeacherRejected) as refused:
        load_teacher(packed(tmp_path / "m"))
    assert refused.value.code == "architecture_mismatch"
