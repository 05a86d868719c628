"""Runs at 64 and 224 pixels, with 2 to 1,000 classes, by tiny networks."""

import pytest
import torch
from torch import nn

from dfad_core.contract.config import BudgetConfig, DistillConfig, InputConfig, MethodConfig, TrainingConfig
from dfad_core.hooks import Hooks
from dfad_core.training.trainer import distill


def classifier(width: int, classes: int, *, bn: bool = True) -> nn.Module:
    """Two convolutions that see the image at an eighth of its side."""
    return nn.Sequential(
        nn.Conv2d(3, width, 8, stride=8),
        nn.BatchNorm2d(width) if bn else nn.Identity(),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.BatchNorm2d(width) if bn else nn.Identity(),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, classes),
    )


class Phases(Hooks):
    """Records the largest checkpoint."""

    def __init__(self) -> None:
        self.largest = 0

    def checkpoint(self, step: int, data: bytes) -> None:
        self.largest = max(self.largest, len(data))


@pytest.mark.parametrize("bn", [True, False])
@pytest.mark.parametrize(("side", "classes"), [(64, 1000), (64, 2), (224, 1000), (224, 2)])
def test_the_default_method_runs(
    side: int, classes: int, monkeypatch: pytest.MonkeyPatch, *, bn: bool
) -> None:
    if (side, classes) != (64, 1000):  # to save time: one size is evaluated
        monkeypatch.setattr("dfad_core.training.trainer.evaluate", lambda *_: None)
    config = DistillConfig(
        InputConfig((3, side, side), (0.5,) * 3, (0.25,) * 3),
        classes,
        budget=BudgetConfig(steps=2),
        training=TrainingConfig(batch_size=4, pool_batches=2, student_steps=2, inner_steps=2, threads=1),
        device="cpu",
    )
    hooks = Phases()
    torch.manual_seed(0)
    result = distill(classifier(8, classes, bn=bn), classifier(4, classes), config, hooks)
    assert result.steps == 2
    assert all(bool(torch.isfinite(t).all()) for t in result.student.state_dict().values())
    assert 2 * 4 * 3 * side**2 < hooks.largest < 2 * 4 * 3 * side**2 * 4 + 2**20, "the pool, and little more"


@pytest.mark.parametrize("method", ["best", "dfad", "fast", "level_sets", "noise"])
def test_other_methods_run_at_64_pixels_with_a_thousand_classes(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dfad_core.training.trainer.evaluate", lambda *_: None)
    config = DistillConfig(
        InputConfig((3, 64, 64)),
        1000,
        method=MethodConfig(method),
        budget=BudgetConfig(steps=1),
        training=TrainingConfig(
            batch_size=16, pool_batches=2, student_steps=2, inner_steps=1, threads=1, generator_width=4
        ),
        device="cpu",
    )
    result = distill(classifier(8, 1000), classifier(4, 1000), config)
    assert result.steps == 1
