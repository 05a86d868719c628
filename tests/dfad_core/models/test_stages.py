"""Pre-activation stages are found without being declared."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfad_core.catalog import ARCHITECTURES
from dfad_core.models import build_classifier
from dfad_core.models.stages import StageTap, find_stages, match_stages


def network(name: str) -> tuple[nn.Module, Tensor]:
    shape = ARCHITECTURES[name].input_shape
    return build_classifier(name, num_classes=10, input_shape=shape), torch.randn(2, *shape)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lenet5", [(6, (28, 28)), (16, (10, 10)), (84, (1, 1))]),
        ("resnet20", [(16, (32, 32)), (32, (16, 16)), (64, (8, 8))]),
        ("resnet18", [(64, (32, 32)), (128, (16, 16)), (256, (8, 8)), (512, (4, 4))]),
        ("wrn_16_2", [(32, (32, 32)), (64, (16, 16)), (128, (8, 8))]),
        ("vgg11_bn", [(64, (32, 32)), (128, (16, 16)), (256, (8, 8)), (512, (4, 4)), (512, (2, 2))]),
        ("cnn8", [(40, (8, 8)), (40, (4, 4))]),
    ],
)
def test_stages_of_the_catalogue(name: str, expected: list[tuple[int, tuple[int, int]]]) -> None:
    stages = find_stages(*network(name))
    assert [(s.channels, s.size) for s in stages] == expected


@pytest.mark.parametrize("name", ["lenet5", "resnet8", "wrn_16_1", "mobilenet_v2", "mlp8"])
def test_tap_keeps_what_enters_the_activation(name: str) -> None:
    module, x = network(name)
    module.train()
    stages = find_stages(module, x)
    assert module.training  # as it was
    tap = StageTap(stages)
    with tap.listening():
        logits = module(x)
    assert [t.shape[1] for t in tap.tensors] == [s.channels for s in stages]
    assert all(t.requires_grad for t in tap.tensors)
    assert any((t < 0).any() for t in tap.tensors)  # before, not after the ReLU
    sum(t.sum() for t in tap.tensors).backward()
    assert logits.shape == (2, 10)


class InPlace(nn.Module):
    """Overwrites its pre-activations in three ways."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.relu(self.conv(x)), 2)
        x = F.max_pool2d(F.relu_(x - 0.5), 2)
        return (x - 0.5).relu_().flatten(1)


def test_in_place_activations_do_not_overwrite() -> None:
    torch.manual_seed(0)
    module, x = InPlace(), torch.randn(2, 1, 8, 8)
    plain = module(x)
    tap = StageTap(find_stages(module, x))
    with tap.listening():
        tapped = module(x)
    assert len(tap.tensors) == 3
    assert all((t < 0).any() for t in tap.tensors)
    torch.testing.assert_close(tapped, plain)


def test_matching_other_depths_and_widths() -> None:
    teacher, student = find_stages(*network("vgg11_bn")), find_stages(*network("resnet18"))
    pairs = match_stages(teacher, student)
    assert [(t.size, s.size) for t, s in pairs] == [((n, n), (n, n)) for n in (32, 16, 8, 4)]
    assert match_stages(student, teacher) == [(s, t) for t, s in pairs]


def test_matching_keeps_order_and_kind() -> None:
    teacher, student = find_stages(*network("lenet5")), find_stages(*network("lenet5_half"))
    pairs = match_stages(teacher, student)
    assert [(t.channels, s.channels) for t, s in pairs] == [(6, 3), (16, 8), (84, 42)]
    assert match_stages(find_stages(*network("cnn8")), find_stages(*network("mlp8"))) == []
