"""Counts that can be checked by hand, and accuracy on labels."""

import pytest
import torch
from torch import nn

from dfad_core.evaluation.accuracy import accuracy
from dfad_core.evaluation.cost import cost
from dfad_core.models import build_classifier


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
