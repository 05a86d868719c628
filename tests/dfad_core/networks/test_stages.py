"""Pre-activation stages are found without being declared."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfad_core.contract.architectures import ARCHITECTURES
from dfad_core.networks import build_classifier
from dfad_core.networks.stages import Stage, StageTap, find_stages, match_stages


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
    with tap.recording():
        logits = module(x)
    assert [t.shape[1] for t in tap.tensors] == [s.channels for s in stages]
    assert all(t.requires_grad for t in tap.tensors)
    assert any((t < 0).any() for t in tap.tensors)  # before, not after the ReLU
    sum(t.sum() for t in tap.tensors).backward()
    assert logits.shape == (2, 10)


class InPlace(nn.Module):
    """Overwrites its pre-activations in every way there is, and once without taking the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.by_name = nn.ReLU(inplace=True)
        self.by_position = nn.LeakyReLU(0.2, inplace=True)
        self.clipped = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.by_name(self.conv(x)), 2) - 0.5
        x = F.max_pool2d(self.by_position(x), 2) - 0.5
        F.relu_(x)
        x = self.clipped(x.flatten(1)[:, :6] - 0.5)
        return (x[:, :3] - 0.5).relu_()


def test_in_place_activations_do_not_overwrite() -> None:
    torch.manual_seed(0)
    module, x = InPlace(), torch.randn(2, 1, 8, 8)
    plain = module(x)
    stages = find_stages(module, x)
    assert [s.size for s in stages] == [(8, 8), (4, 4), (2, 2), (1, 1)]
    tap = StageTap([Stage(call, 1, (1, 1)) for call in range(5)])
    with tap.recording():
        tapped = module(x)
    assert all((t < 0).any() for t in tap.tensors)
    torch.testing.assert_close(tapped, plain)
    sum(t.sum() for t in tap.tensors).backward()


def test_a_hardtanh_has_no_boundary_at_zero() -> None:
    x = torch.randn(2, 5)
    assert find_stages(nn.Hardtanh(), x) == []
    assert len(find_stages(nn.Hardtanh(0.0, 1.0), x)) == 1


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


@pytest.fixture(scope="module")
def all_stages() -> dict[str, list[Stage]]:
    """Of the whole catalogue, for one input that all of it accepts; no memory, no arithmetic."""
    found = {}
    with torch.device("meta"):
        for name in ARCHITECTURES:
            module = build_classifier(name, num_classes=10, input_shape=(3, 32, 32))
            found[name] = find_stages(module, torch.zeros(2, 3, 32, 32))
    return found


def test_any_two_networks_match(all_stages: dict[str, list[Stage]]) -> None:
    for (one, first), (other, second) in product(all_stages.items(), repeat=2):
        pairs = match_stages(first, second)
        counts = [
            min(len([s for s in stages if s.is_flat == flat]) for stages in (first, second))
            for flat in (False, True)
        ]
        assert len(pairs) == sum(counts), (one, other)
        for side in (0, 1):  # in the order of the layers, each at most once
            calls = [pair[side].call for pair in pairs]
            assert calls == sorted(set(calls)), (one, other)
        if one == other:
            assert all(t == s for t, s in pairs)


def test_logits_are_no_stage(all_stages: dict[str, list[Stage]]) -> None:
    assert all(stage.channels != 10 for stages in all_stages.values() for stage in stages)
    assert all(stages for stages in all_stages.values())


def test_a_network_without_boundaries_has_no_stages() -> None:
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.Tanh())
    x = torch.randn(2, 1, 8, 8)
    assert find_stages(linear, x) == []
    tap = StageTap([])
    with tap.recording():
        linear(x)
    assert tap.tensors == ()


@pytest.mark.parametrize(
    "layer", [nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish]
)
def test_relatives_of_relu_count(layer: type[nn.Module]) -> None:
    module = nn.Sequential(nn.Conv2d(1, 3, 3), layer(), nn.Flatten(), nn.Linear(108, 10))
    assert [(s.channels, s.size) for s in find_stages(module, torch.randn(2, 1, 8, 8))] == [(3, (6, 6))]


def test_tap_in_the_teachers_setting() -> None:
    """Without gradients, in bfloat16 and channels_last: one pass, the same answer, nothing left behind."""
    torch.manual_seed(0)
    module, x = network("resnet8")
    module.eval().to(memory_format=torch.channels_last)
    passes = []
    module.register_forward_hook(lambda *_: passes.append(1))
    tap = StageTap(find_stages(module, x))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        plain = module(x)
        with tap.recording():
            tapped = module(x)
    assert len(passes) == 3  # find, plain, tapped
    assert torch.equal(plain, tapped)
    assert not any(t.requires_grad for t in tap.tensors)
    before = tap.tensors
    module(x)
    assert tap.tensors is before
