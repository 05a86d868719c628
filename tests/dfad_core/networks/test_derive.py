"""Students from a target: of the teacher's family, within every limit, and smaller than the teacher."""

from __future__ import annotations

from typing import Any

import pytest

from dfad_core.contract.config import TargetConfig
from dfad_core.contract.errors import ConfigError
from dfad_core.networks import build_classifier
from dfad_core.networks.cost import Cost, cost
from dfad_core.networks.derive import Derived, derive_student, offered_students


def derive(target: dict[str, int], teacher: str, shape: tuple[int, int, int], **args: Any) -> Derived:
    known = teacher if teacher != "onnx" else "resnet20"
    network = build_classifier(known, num_classes=10, input_shape=shape, args=args)
    return derive_student(
        TargetConfig(**target),
        teacher=teacher,
        teacher_args=args,
        teacher_cost=cost(network, shape),
        num_classes=10,
        input_shape=shape,
    )


@pytest.mark.parametrize(
    ("teacher", "shape", "args", "target", "family"),
    [
        ("resnet20", (3, 32, 32), {}, {"max_macs": 5_000_000}, ("resnet20", "resnet8")),
        ("vgg11_bn", (3, 32, 32), {}, {"max_bytes": 1_000_000}, ("vgg11_bn",)),
        ("mobilenet_v2", (3, 32, 32), {"width": 16}, {"max_parameters": 200_000}, ("mobilenet_v2",)),
        ("lenet5", (1, 32, 32), {}, {"max_parameters": 30_000}, ("lenet5_half",)),
        ("wrn_16_2", (3, 32, 32), {}, {"max_parameters": 300_000}, ("wrn_16_1",)),
        ("cnn8", (1, 8, 8), {"width": 20}, {"max_parameters": 5000, "max_macs": 120_000}, ("cnn8",)),
        ("onnx", (1, 8, 8), {}, {"max_parameters": 3000}, ("resnet8", "resnet20", "cnn8", "resnet18")),
    ],
)
def test_what_is_derived_keeps_to_its_target(
    teacher: str, shape: tuple[int, int, int], args: dict[str, int], target: dict[str, int], family: Any
) -> None:
    found = derive(target, teacher, shape, **args)
    assert found.architecture in family
    built = build_classifier(found.architecture, num_classes=10, input_shape=shape, args=found.args)
    assert cost(built, shape) == found.cost
    assert TargetConfig(**target).allows(found.cost.parameters, found.cost.macs, found.cost.bytes)


def test_a_deeper_relative_is_no_student_though_it_has_fewer_parameters() -> None:
    """WRN-40-1 has 0.56 M parameters and WRN-16-2 has 0.69 M."""
    assert derive({"max_parameters": 600_000}, "wrn_16_2", (3, 32, 32)).architecture == "wrn_16_1"


def test_a_wide_target_still_gives_a_smaller_network() -> None:
    found = derive({"max_parameters": 10**9}, "cnn8", (1, 8, 8), width=20)
    assert found.args["width"] == 18


def test_among_narrow_networks_no_width_is_left_out() -> None:
    """A quarter of the digits' teacher, which is what the page offers: 5,275 of 5,898 parameters."""
    found = derive({"max_parameters": 5898}, "cnn8", (1, 8, 8), width=20)
    assert (found.args["width"], found.cost.parameters) == (9, 5275)


def test_a_target_out_of_reach_says_what_the_smallest_takes() -> None:
    with pytest.raises(ConfigError, match="cnn8, has 163 parameters") as refused:
        derive({"max_parameters": 5}, "cnn8", (1, 8, 8), width=20)
    assert refused.value.code == "target_unreachable"


def test_a_target_needs_a_limit() -> None:
    with pytest.raises(ConfigError, match="at least one limit"):
        TargetConfig()


@pytest.mark.parametrize(("teacher", "shape"), [("resnet20", (3, 32, 32)), ("onnx", (1, 8, 8))])
def test_what_is_offered_is_smaller_by_so_much(teacher: str, shape: tuple[int, int, int]) -> None:
    parameters = 270_000
    found = offered_students(
        teacher=teacher,
        teacher_args={},
        teacher_cost=Cost(parameters, 4 * parameters, 10**9),
        num_classes=10,
        input_shape=shape,
    )
    assert len(found) == 3
    for one, compression in zip(found, (2, 4, 10), strict=True):
        assert 0.5 * parameters < one.cost.parameters * compression <= parameters
        built = build_classifier(one.architecture, num_classes=10, input_shape=shape, args=one.args)
        assert cost(built, shape) == one.cost


def test_the_smallest_of_its_family_is_offered_nothing() -> None:
    found = offered_students(
        teacher="lenet5_half",
        teacher_args={},
        teacher_cost=Cost(10, 40, 10**9),
        num_classes=10,
        input_shape=(1, 32, 32),
    )
    assert found == []


def offered_at_64(teacher: str, parameters: int, macs: int) -> list[Derived]:
    return offered_students(
        teacher=teacher,
        teacher_args={},
        teacher_cost=Cost(parameters, 4 * parameters, macs),
        num_classes=10,
        input_shape=(3, 64, 64),
    )


def test_large_images_are_offered_networks_that_are_deployed() -> None:
    found = offered_at_64("torchvision:resnet18", 11_181_642, 148_000_000)
    assert [(one.architecture, one.args.get("width")) for one in found] == [
        ("torchvision:resnet18", 40),
        ("torchvision:mobilenet_v3_large", None),
        ("torchvision:resnet18", 24),
        ("torchvision:mobilenet_v2", None),
        ("torchvision:resnet18", 16),
        ("torchvision:mobilenet_v3_large", 8),
    ]


@pytest.mark.parametrize("teacher", ["onnx", "resnet20", "torchvision:vit_b_16"])
def test_no_offer_takes_more_operations_than_its_teacher(teacher: str) -> None:
    found = offered_at_64(teacher, 85_800_000, 20_000_000)
    assert found
    assert all(one.cost.macs <= 20_000_000 for one in found)
    assert "torchvision:mobilenet_v3_small" in {one.architecture for one in found}
