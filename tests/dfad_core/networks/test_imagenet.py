"""Networks under torchvision's and timm's names: their tensors, recognition without a name, students.

The facts below were printed from torchvision 0.29.1 and timm 1.0.31; tests/vision compares with the two.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dfad_core.contract.architectures import ARCHITECTURES
from dfad_core.contract.config import InputConfig
from dfad_core.contract.errors import ConfigError, ShapeError, TeacherRejected
from dfad_core.formats import load_teacher
from dfad_core.formats.match import build_meta, infer_args
from dfad_core.networks import build_classifier
from dfad_core.networks.inheritance import inherit
from dfad_core.networks.stages import find_stages


@dataclass(frozen=True)
class Facts:
    """Of the network for 1,000 classes and 224 pixels."""

    parameters: int
    first: str
    last: str
    digest: str
    """Of sorted names and shapes."""


FACTS = {
    "torchvision:resnet18": Facts(11_689_512, "conv1.weight", "fc.bias", "867b8d8ae95f5a28"),
    "torchvision:resnet34": Facts(21_797_672, "conv1.weight", "fc.bias", "d6dbfa48843359d6"),
    "torchvision:resnet50": Facts(25_557_032, "conv1.weight", "fc.bias", "2d5b8870b35e1530"),
    "torchvision:resnet101": Facts(44_549_160, "conv1.weight", "fc.bias", "83dfe6275c4f12d9"),
    "torchvision:mobilenet_v2": Facts(
        3_504_872, "features.0.0.weight", "classifier.1.bias", "b37e2a9130e6341b"
    ),
    "torchvision:mobilenet_v3_small": Facts(
        2_542_856, "features.0.0.weight", "classifier.3.bias", "4e84a246a3fc7383"
    ),
    "torchvision:mobilenet_v3_large": Facts(
        5_483_032, "features.0.0.weight", "classifier.3.bias", "48d34b4f39c83e39"
    ),
    "torchvision:efficientnet_b0": Facts(
        5_288_548, "features.0.0.weight", "classifier.1.bias", "c82a02375566e02a"
    ),
    "torchvision:vgg16_bn": Facts(138_365_992, "features.0.weight", "classifier.6.bias", "e238651c9f050805"),
    "torchvision:densenet121": Facts(
        7_978_856, "features.conv0.weight", "classifier.bias", "d9126905d0ec5cf6"
    ),
    "torchvision:convnext_tiny": Facts(
        28_589_128, "features.0.0.weight", "classifier.2.bias", "76e6adcc617daa3f"
    ),
    "torchvision:vit_b_16": Facts(86_567_656, "class_token", "heads.head.bias", "55c98fb7dfaa7147"),
    "timm:vit_tiny_patch16_224": Facts(5_717_416, "cls_token", "head.bias", "f67d4b872e4c717d"),
    "timm:vit_small_patch16_224": Facts(22_050_664, "cls_token", "head.bias", "03e6e034b3796f89"),
}
SMALL = [
    ("torchvision:resnet18", {"width": 8}),
    ("torchvision:resnet50", {"width": 4}),
    ("torchvision:mobilenet_v2", {"width": 8}),
    ("torchvision:mobilenet_v3_small", {}),
    ("torchvision:mobilenet_v3_large", {"width": 4}),
    ("torchvision:efficientnet_b0", {}),
    ("torchvision:densenet121", {}),
    ("timm:vit_tiny_patch16_224", {}),
]
"""Those that take a test a second at most."""
SHAPE_64 = (3, 64, 64)


def digest(state: Mapping[str, Tensor]) -> str:
    text = "\n".join(f"{name} {list(tensor.shape)}" for name, tensor in sorted(state.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def build(name: str, shape: tuple[int, int, int] = SHAPE_64, **args: int) -> nn.Module:
    torch.manual_seed(0)
    return build_classifier(name, num_classes=7, input_shape=shape, args=args)


def test_the_facts_are_of_the_whole_catalogue() -> None:
    assert set(FACTS) == {name for name in ARCHITECTURES if ":" in name}


@pytest.mark.parametrize("name", FACTS)
def test_tensors_are_the_librarys(name: str) -> None:
    network = build_meta(name, 1000, (3, 224, 224), {})
    state = network.state_dict()
    names = list(state)
    parameters = sum(p.numel() for p in network.parameters())
    assert Facts(parameters, names[0], names[-1], digest(state)) == FACTS[name]


@pytest.mark.parametrize("name", FACTS)
@pytest.mark.parametrize("side", [32, 64, 96])
def test_any_size_is_classified(name: str, side: int) -> None:
    with torch.device("meta"):
        logits = build(name, (1, side, side)).eval()(torch.zeros(2, 1, side, side))
    assert logits.shape == (2, 7)


@pytest.mark.parametrize(("name", "args"), SMALL)
def test_a_batch_of_64_pixels_trains_every_weight(name: str, args: dict[str, int]) -> None:
    network = build(name, **args).train()
    network(torch.randn(2, *SHAPE_64)).square().sum().backward()
    for parameter, tensor in network.named_parameters():
        assert tensor.grad is not None, parameter
        assert torch.isfinite(tensor.grad).all(), parameter


@pytest.mark.parametrize(("name", "args"), SMALL)
def test_a_state_dict_is_recognised_without_a_name(name: str, args: dict[str, int], tmp_path: Path) -> None:
    network = build(name, **args).eval()
    state = {f"module.{key}": tensor for key, tensor in network.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "t.pth")
    found = load_teacher(tmp_path / "t.pth", input=InputConfig(SHAPE_64))
    assert (found.architecture, found.args, found.num_classes) == (name, args, 7)
    x_BCHW = torch.randn(2, *SHAPE_64)
    with torch.no_grad():
        torch.testing.assert_close(found.module(x_BCHW), network(x_BCHW))


def test_the_size_of_a_transformers_images_is_read_from_its_positions(tmp_path: Path) -> None:
    torch.save(build("timm:vit_tiny_patch16_224", (3, 96, 96)).state_dict(), tmp_path / "t.pth")
    assert load_teacher(tmp_path / "t.pth").input.shape == (3, 96, 96)
    with pytest.raises(TeacherRejected, match=r"pos_embed \[1, 37, 192\] instead of \[1, 17, 192\]"):
        load_teacher(
            tmp_path / "t.pth", architecture="timm:vit_tiny_patch16_224", input=InputConfig(SHAPE_64)
        )


@pytest.mark.parametrize("shape", [(3, 64, 96), (3, 70, 70), (3, 16, 16)])
def test_sizes_that_are_no_whole_patches(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ShapeError):
        build("torchvision:vit_b_16", shape)


def older(name: str, tensor_name: str) -> str:
    """As torchvision's own downloads still call it."""
    if name == "torchvision:densenet121":
        for kind in ("norm", "conv"):
            for number in "12":
                if "denselayer" in tensor_name:
                    tensor_name = tensor_name.replace(f".{kind}{number}.", f".{kind}.{number}.")
        return tensor_name
    return tensor_name.replace("mlp.0", "mlp.linear_1").replace("mlp.3", "mlp.linear_2")


@pytest.mark.parametrize("name", ["torchvision:densenet121", "torchvision:vit_b_16"])
def test_older_names_of_tensors_are_known(name: str) -> None:
    state = build_meta(name, 7, SHAPE_64, {}).state_dict()
    names = [older(name, key) for key in state]
    assert names != list(state)
    for pattern, replacement in ARCHITECTURES[name].old_names:
        names = [re.sub(pattern, replacement, key) for key in names]
    assert names == list(state)


def test_a_file_with_older_names_is_read(tmp_path: Path) -> None:
    network = build("torchvision:densenet121")
    state = {older("torchvision:densenet121", key): tensor for key, tensor in network.state_dict().items()}
    torch.save(state, tmp_path / "t.pth")
    found = load_teacher(tmp_path / "t.pth", input=InputConfig(SHAPE_64))
    assert found.architecture == "torchvision:densenet121"
    assert all(torch.equal(t, network.state_dict()[n]) for n, t in found.module.state_dict().items())


def test_a_tensor_under_its_older_and_its_newer_name_is_left_over(tmp_path: Path) -> None:
    network = build("torchvision:densenet121")
    state = dict(network.state_dict())
    state["features.denseblock1.denselayer1.norm.1.weight"] = torch.ones(64)
    torch.save(state, tmp_path / "t.pth")
    with pytest.raises(TeacherRejected, match=r"unexpected: features.denseblock1.denselayer1.norm.1.weight"):
        load_teacher(tmp_path / "t.pth", input=InputConfig(SHAPE_64))


@pytest.mark.parametrize("width", [2, 30, 33])
def test_widths_that_would_be_rounded_away(width: int) -> None:
    with pytest.raises(ConfigError, match="width"):
        build("torchvision:mobilenet_v2", width=width)


@pytest.mark.parametrize("name", [name for name, row in ARCHITECTURES.items() if ":" in name and row.args])
def test_a_width_is_read_from_the_tensors(name: str) -> None:
    row = ARCHITECTURES[name]
    for width in (4, 12, 28, row.usual_width):
        args = {} if width == row.usual_width else {"width": width}
        state = build_meta(name, 7, row.input_shape, args).state_dict()
        assert infer_args(row, state) == args, width


def test_activations_of_squeeze_and_excitation_are_no_stages() -> None:
    with torch.device("meta"):
        stages = find_stages(build("torchvision:efficientnet_b0"), torch.zeros(2, *SHAPE_64))
    assert [stage.size[0] for stage in stages] == [32, 16, 8, 4, 2]


def test_a_shallower_student_begins_with_its_teachers_weights() -> None:
    teacher, student = build("torchvision:resnet34", width=8), build("torchvision:resnet18", width=8)
    assert inherit(student, teacher, torch.randn(4, *SHAPE_64)) == len(student.state_dict())
    other = build("torchvision:mobilenet_v3_small")
    assert inherit(other, teacher, torch.randn(4, *SHAPE_64)) == 0
