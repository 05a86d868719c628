"""Tiny networks and configs, with which a test of the engine trains in a second."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from dfad_core.contract.config import BudgetConfig, DistillConfig, InputConfig, MethodConfig, TrainingConfig

LATENT, CLASSES = 8, 5


def classifier(width: int, *, bn: bool = True, seed: int = 0, channels: int = 1) -> nn.Module:
    """Two convolutions with (or without) BN whose running statistics are not the trivial ones."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.BatchNorm2d(width) if bn else nn.Identity(),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.BatchNorm2d(width) if bn else nn.Identity(),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(4 * width, CLASSES),
        )
        if bn:
            net.train()
            with torch.no_grad():
                for _ in range(20):
                    net(torch.randn(16, channels, 8, 8))
    return net


class TinyGenerator(nn.Module):
    """One linear layer and one convolution; the least that has the generator's interface."""

    def __init__(self, shape: tuple[int, int, int], seed: int) -> None:
        super().__init__()
        self.shape = shape
        channels, height, width = shape
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            self.first = nn.Linear(LATENT, 4 * height * width)
            self.body = nn.Sequential(
                nn.BatchNorm2d(4),
                nn.LeakyReLU(0.2),
                nn.Conv2d(4, channels, 3, padding=1),
                nn.Tanh(),
                nn.BatchNorm2d(channels, affine=False),
            )

    def forward(self, z_BZ: torch.Tensor) -> torch.Tensor:
        return self.body(self.first(z_BZ).reshape(-1, 4, *self.shape[1:]))


def config(*, method: dict[str, Any] | None = None, steps: int = 6, **changes: Any) -> DistillConfig:
    """A config for the tiny networks; keyword arguments go where a field of that name is."""
    shape = changes.pop("shape", (1, 8, 8))
    training: dict[str, Any] = {
        "batch_size": 16,
        "student_steps": 3,
        "pool_batches": 4,
        "latent_dim": LATENT,
        "precision": "float32",
        "threads": 1,
    }
    names = {f.name for f in dataclasses.fields(TrainingConfig)}
    training |= {k: changes.pop(k) for k in list(changes) if k in names}
    budget = {"steps": steps, "train_seconds": changes.pop("train_seconds", None)}
    return DistillConfig(
        input=InputConfig(shape),
        num_classes=CLASSES,
        method=MethodConfig(**(method or {})),
        budget=BudgetConfig(**budget),
        training=TrainingConfig(**training),
        device=changes.pop("device", "cpu"),
        progress_seconds=changes.pop("progress_seconds", 0),
        **changes,
    )


@pytest.fixture
def tiny() -> SimpleNamespace:
    """`classifier`, `generator` and `config` makers."""
    return SimpleNamespace(
        classifier=classifier,
        generator=lambda shape=(1, 8, 8), seed=7: TinyGenerator(shape, seed),
        config=config,
        latent=LATENT,
        classes=CLASSES,
    )
