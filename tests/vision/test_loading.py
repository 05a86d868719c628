"""Files both ways: a library's state dict as a teacher, and a student in the library."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import safetensors.torch
import torch

from dfad_core import load_student
from dfad_core.contract.architectures import get_architecture
from dfad_core.contract.config import InputConfig
from dfad_core.contract.errors import ConfigError, TeacherRejected
from dfad_core.evaluation.inspection import inspect_teacher
from dfad_core.formats import load_teacher
from dfad_core.formats.metadata import StudentMetadata
from dfad_core.formats.safetensors import student_bytes
from dfad_core.networks import build_classifier
from dfad_core.report.loading import loading_lines

timm = pytest.importorskip("timm", reason="timm is not installed (make test-vision)")
torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed (make test-vision)")
INPUT = InputConfig((3, 64, 64))


def test_a_resnet18_is_inspected_without_a_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=10)
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    teacher = load_teacher(tmp_path / "resnet18.pth", input=INPUT)
    inspection = inspect_teacher(teacher, offers=True)
    assert (inspection.architecture, inspection.num_classes) == ("torchvision:resnet18", 10)
    assert inspection.students
    assert all(one.macs <= inspection.macs for one in inspection.students)


@pytest.mark.parametrize(
    ("architecture", "args", "side"),
    [
        ("torchvision:mobilenet_v3_small", {}, 64),
        ("torchvision:mobilenet_v2", {"width": 12}, 64),
        ("timm:vit_tiny_patch16_224", {}, 64),
        ("timm:resnet10t", {}, 224),
        ("torchvision:shufflenet_v2_x0_5", {}, 224),
    ],
)
def test_the_reports_lines_load_a_student(
    architecture: str, args: dict[str, int], side: int, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    input = InputConfig((3, side, side))
    student = build_classifier(architecture, num_classes=10, input_shape=input.shape, args=args).eval()
    metadata = StudentMetadata(architecture, args, 10, input)
    file = tmp_path / "student.safetensors"
    file.write_bytes(student_bytes(student, metadata))
    names = {"torchvision": torchvision, "timm": timm, "safetensors": safetensors}
    exec("\n".join(loading_lines(metadata, str(file))), names)
    x_BCHW = torch.randn(2, *input.shape)
    network = names["network"].eval()
    with torch.no_grad():
        torch.testing.assert_close(network(x_BCHW), student(x_BCHW), rtol=0, atol=1e-5)
        torch.testing.assert_close(load_student(file)(x_BCHW), student(x_BCHW))


def test_other_networks_of_the_libraries_are_teachers_if_they_are_named(tmp_path: Path) -> None:
    torch.manual_seed(0)
    for name, network in (
        ("timm:resnet10t", timm.create_model("resnet10t", num_classes=5)),
        ("torchvision:shufflenet_v2_x0_5", torchvision.models.shufflenet_v2_x0_5(num_classes=5)),
        ("torchvision:regnet_y_400mf", torchvision.models.regnet_y_400mf(num_classes=5)),
    ):
        torch.save(network.state_dict(), tmp_path / "t.pt")
        found = load_teacher(tmp_path / "t.pt", architecture=name, input=INPUT)
        assert (found.architecture, found.num_classes) == (name, 5)


def test_a_giant_takes_no_memory_before_its_weights_are_there(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(5, 7392), "fc.bias": torch.zeros(5)}, tmp_path / "t.pt")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TeacherRejected) as refused:
        load_teacher(tmp_path / "t.pt", architecture="torchvision:regnet_y_128gf", input=INPUT)
    assert refused.value.code == "architecture_mismatch"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # of its 2.5 GiB, in KiB


@pytest.mark.parametrize(
    "name", ["torchvision:fasterrcnn_resnet50_fpn", "torchvision:googlenet", "torchvision:x", "timm:x"]
)
def test_what_is_no_classifier_is_refused(name: str) -> None:
    assert get_architecture(name).name == name
    with pytest.raises(ConfigError) as refused:
        build_classifier(name, num_classes=5, input_shape=INPUT.shape)
    assert refused.value.code == "unknown_architecture"
