"""The catalogue's networks against those of torchvision and timm: names, shapes, outputs, both ways.

`make test-vision` installs the two; without them these tests are skipped.
"""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from torch import nn

from dfad_core.contract.architectures import ARCHITECTURES
from dfad_core.networks import build_classifier

NAMES = [name for name in ARCHITECTURES if ":" in name]
CLASSES, SIDE = 7, 64
NARROW = [
    ("torchvision:mobilenet_v2", 32, 8),
    ("torchvision:mobilenet_v2", 32, 24),
    ("torchvision:mobilenet_v2", 32, 44),
    ("torchvision:mobilenet_v3_small", 16, 8),
    ("torchvision:mobilenet_v3_small", 16, 12),
    ("torchvision:mobilenet_v3_large", 16, 5),
]
"""Name, usual width, width."""


def theirs(name: str, **options: Any) -> nn.Module:
    """The network of the library before the colon of `name`; skips the test where that is not installed."""
    library, _, own_name = name.partition(":")
    package = pytest.importorskip(library, reason=f"{library} is not installed (make test-vision)")
    network: nn.Module
    if library == "timm":
        size = {"img_size": SIDE} if own_name.startswith("vit") else {}
        network = package.create_model(own_name, pretrained=False, num_classes=CLASSES, **size, **options)
    else:
        size = {"image_size": SIDE} if own_name.startswith("vit") else {}
        models = importlib.import_module("torchvision.models")
        network = models.get_model(own_name, weights=None, num_classes=CLASSES, **size, **options)
    return network


def ours(name: str, **args: int) -> nn.Module:
    return build_classifier(name, num_classes=CLASSES, input_shape=(3, SIDE, SIDE), args=args)


@torch.no_grad()
def compare(own: nn.Module, other: nn.Module) -> None:
    """Same names and shapes in the same order, strict loading both ways, equal logits."""
    own_state, state = own.state_dict(), other.state_dict()
    assert {n: t.shape for n, t in own_state.items()} == {n: t.shape for n, t in state.items()}
    generator = torch.Generator().manual_seed(0)
    for name, tensor in state.items():
        # Everything has a part in the logits: no layer is zero, and no statistic is the trivial one.
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2, generator=generator)
        elif (tensor.is_floating_point() and tensor.dim() < 2) or "layer_scale" in name:
            tensor.add_(0.2 * torch.randn(tensor.shape, generator=generator))
    x_BCHW = torch.randn(2, 3, SIDE, SIDE, generator=generator)
    other.eval()
    own.load_state_dict(other.state_dict(), strict=True)
    expected_BK = other(x_BCHW)
    scale = float(expected_BK.abs().max())
    assert scale > 0
    torch.testing.assert_close(own.eval()(x_BCHW), expected_BK, rtol=0, atol=1e-5 * max(1.0, scale))
    other.load_state_dict(own.state_dict(), strict=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_network_of_the_catalogue_is_the_librarys(name: str) -> None:
    torch.manual_seed(0)
    compare(ours(name), theirs(name))


@pytest.mark.parametrize(("name", "usual", "width"), NARROW)
def test_a_narrow_one_is_the_librarys_with_a_width_multiplier(name: str, usual: int, width: int) -> None:
    torch.manual_seed(0)
    compare(ours(name, width=width), theirs(name, width_mult=width / usual))
