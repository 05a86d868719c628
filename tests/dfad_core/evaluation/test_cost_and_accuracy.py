"""Counts that can be checked by hand, and accuracy on labels."""

import math

import pytest
import torch
from torch import nn

from dfad_core.evaluation.accuracy import accuracy, chance_note, tail_bound
from dfad_core.networks import build_classifier
from dfad_core.networks.cost import cost


def test_cost_by_hand() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 5))
    found = cost(module.train(), (1, 8, 8))
    assert found.parameters == 18 + 4 + 72 * 5 + 5
    assert found.macs == 36 * 18 + 72 * 5
    assert found.bytes == 4 * (found.parameters + 4) + 8  # BN's two buffers and its counter
    assert module.training


@pytest.mark.parametrize(("name", "giga"), [("resnet18", 0.555), ("resnet34", 1.159)])
def test_multiply_accumulates_of_public_networks(name: str, giga: float) -> None:
    module = build_classifier(name, num_classes=10, input_shape=(3, 32, 32))
    assert round(cost(module, (3, 32, 32)).macs / 1e9, 3) == giga


def test_accuracy() -> None:
    logits = torch.eye(4).repeat(5, 1)
    labels = torch.arange(4).repeat(5)
    labels[:5] = (labels[:5] + 1) % 4
    assert accuracy(nn.Identity(), logits, labels, batch_size=3) == 0.75


def test_cost_of_groups_and_shared_layers() -> None:
    grouped = nn.Conv2d(4, 8, 3, padding=1, groups=4, bias=False)
    found = cost(grouped, (4, 8, 10))
    assert (found.parameters, found.macs) == (72, 8 * 80 * 9)
    layer = nn.Linear(6, 6, bias=False)
    twice = nn.Sequential(nn.Flatten(), layer, layer)
    assert cost(twice, (1, 2, 3)).parameters == 36  # stored once
    assert cost(twice, (1, 2, 3)).macs == 72  # computed twice


def test_cost_leaves_no_trace() -> None:
    module = build_classifier("cnn8", num_classes=10, input_shape=(1, 8, 8)).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    cost(module, (1, 8, 8))
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert not any(m._forward_hooks for m in module.modules())


def test_accuracy_uses_running_statistics() -> None:
    module = nn.Sequential(nn.BatchNorm1d(2, affine=False)).train()
    x = torch.tensor([[5.0, 1.0], [5.0, 2.0]])
    # On the batch's own statistics the first column would be 0 and the second +-1.
    assert accuracy(module, x, torch.tensor([0, 0])) == 1.0
    assert not module.training


@pytest.mark.parametrize(
    ("hits", "images", "classes", "noted"),
    [
        (10, 100, 10, True),
        (0, 100, 10, True),  # every label one too high
        (14, 100, 10, True),
        (30, 100, 10, False),  # a bad teacher, and no chance
        (95, 100, 10, False),
        (1, 5, 10, False),  # too few images to say
        (0, 6, 10, True),
        (5, 10, 2, False),
        (50, 100, 2, True),
        (3, 100, 2, True),  # the labels are swapped
        (70, 100, 2, False),
        (2, 1000, 1000, True),
        (20, 1000, 1000, False),
    ],
)
def test_a_teacher_at_chance_is_noted(hits: int, images: int, classes: int, noted: bool) -> None:
    note = chance_note(hits / images, images, classes)
    assert (note is not None) == noted
    assert note is None or "the labels may be in another order" in note


@pytest.mark.parametrize(("count", "probability"), [(10, 0.1), (30, 0.5), (50, 0.02)])
def test_the_bound_on_the_tail_holds_for_a_binomial(count: int, probability: float) -> None:
    def exactly(hits: int) -> float:
        return math.comb(count, hits) * probability**hits * (1 - probability) ** (count - hits)

    for hits in range(count + 1):
        above = hits / count >= probability
        tail = range(hits, count + 1) if above else range(hits + 1)
        assert sum(map(exactly, tail)) <= tail_bound(hits / count, count, probability) + 1e-12
