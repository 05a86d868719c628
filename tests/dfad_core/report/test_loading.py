"""Lines that load a student into torchvision or timm; tests/vision runs them."""

from __future__ import annotations

import pytest

from dfad_core.contract.config import InputConfig
from dfad_core.formats.metadata import StudentMetadata
from dfad_core.report.loading import loading_lines

RGB = (3, 64, 64)


def student(architecture: str, shape: tuple[int, int, int] = RGB, **args: int) -> StudentMetadata:
    return StudentMetadata(architecture, args, 10, InputConfig(shape))


@pytest.mark.parametrize(
    ("metadata", "network"),
    [
        (
            student("torchvision:mobilenet_v3_small"),
            "torchvision.models.get_model('mobilenet_v3_small', num_classes=10)",
        ),
        (
            student("torchvision:mobilenet_v2", width=24),
            "torchvision.models.get_model('mobilenet_v2', num_classes=10, width_mult=24 / 32)",
        ),
        (
            student("torchvision:vit_b_16"),
            "torchvision.models.get_model('vit_b_16', num_classes=10, image_size=64)",
        ),
        (
            student("timm:vit_tiny_patch16_224", (1, 64, 64)),
            "timm.create_model('vit_tiny_patch16_224', num_classes=10, in_chans=1, img_size=64)",
        ),
        (student("timm:regnetx_002", (3, 224, 224)), "timm.create_model('regnetx_002', num_classes=10)"),
    ],
)
def test_three_lines(metadata: StudentMetadata, network: str) -> None:
    assert loading_lines(metadata) == (
        f"import safetensors.torch, {network.partition('.')[0]}",
        f"network = {network}.eval()",
        "network.load_state_dict(safetensors.torch.load_file('student.safetensors'))",
    )


@pytest.mark.parametrize(
    "metadata",
    [
        student("resnet18"),
        student("onnx"),
        student("torchvision:resnet18", width=16),
        student("torchvision:resnet18", (1, 64, 64)),
        student("timm:vit_base_patch16_224"),
    ],
)
def test_none_where_the_library_has_no_such_network(metadata: StudentMetadata) -> None:
    assert loading_lines(metadata) == ()
