"""Smaller parts of the loop: guard, collapse watch, schedules, samples, recalibration, history."""

import numpy as np
import pytest
import torch
from torch import nn

from dfad_core.contract.config import BudgetConfig, InputConfig
from dfad_core.methods.schedules import GENERATOR_END, generator_rate, student_rate
from dfad_core.networks.batch_norm import recalibrate
from dfad_core.training import monitor
from dfad_core.training.clock import Clock
from dfad_core.training.collapse import PATIENCE, CollapseWatch
from dfad_core.training.optimizers import make_optimizer
from dfad_core.training.samples import grid


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_optimizers_descend(kind: str) -> None:
    module = nn.Linear(2, 1)
    optimizer = make_optimizer(kind, list(module.parameters()), 0.01)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = module(torch.ones(3, 2)).square().sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_collapse_is_told_once_and_so_is_recovery() -> None:
    watch = CollapseWatch()
    told = [watch.look(0.9, 1.0)]
    told += [watch.look(0.1, 1.0) for _ in range(10)]
    told += [watch.look(0.4, 1.0) for _ in range(10)]  # between the thresholds: no change of mind
    told += [watch.look(0.9, 1.0) for _ in range(10)]
    expected = [None] * len(told)
    expected[PATIENCE] = "collapse_suspected"
    expected[20 + PATIENCE] = "collapse_recovered"
    assert told == expected


def test_a_restored_watch_goes_on_counting() -> None:
    watch, restored = CollapseWatch(), CollapseWatch()
    for _ in range(PATIENCE - 1):
        watch.look(0.1, 1.0)
    restored.load_state_dict(watch.state_dict())
    assert restored.look(0.1, 1.0) == "collapse_suspected"
    watch.load_state_dict(restored.state_dict())
    assert [watch.look(0.9, 1.0) for _ in range(PATIENCE)][-1] == "collapse_recovered"


def test_one_bad_report_is_no_collapse() -> None:
    watch = CollapseWatch()
    assert [watch.look(e, 1.0) for e in (0.1, 0.9) * 6] == [None] * 12


def test_schedules() -> None:
    fractions = np.linspace(0, 1, 201)
    student = np.array([student_rate(f) for f in fractions])
    assert student.argmax() * 0.005 == pytest.approx(0.03)
    assert student.max() == pytest.approx(1)
    assert student[0] == pytest.approx(0.1)
    assert student[-1] == pytest.approx(0)
    generator = np.array([generator_rate(f) for f in fractions])
    assert (generator[:100] == 1).all()
    assert (np.diff(generator) <= 0).all()
    assert generator[-1] == pytest.approx(GENERATOR_END)


def test_the_clock_goes_by_the_tighter_of_steps_and_seconds(monkeypatch) -> None:
    now = [100.0]
    monkeypatch.setattr("dfad_core.training.clock.time.monotonic", lambda: now[0])
    clock = Clock(BudgetConfig(steps=10, train_seconds=50.0))
    assert clock.seconds == 0
    clock.start(step=2, seconds=20.0)
    now[0] += 5
    assert clock.seconds == 25
    assert clock.fraction == 0.5
    assert clock.eta_seconds == pytest.approx(25)
    clock.step = 8
    assert clock.fraction == 0.8
    now[0] += 100
    assert clock.fraction == 1
    by_steps = Clock(BudgetConfig(steps=10))
    by_steps.start()
    assert by_steps.eta_seconds is None
    by_steps.step = 5
    assert by_steps.fraction == 0.5


def test_samples_are_taken_back_to_the_raw_scale() -> None:
    raw = torch.rand(70, 3, 4, 5)
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.25])
    images = (raw - mean.reshape(3, 1, 1)) / std.reshape(3, 1, 1)
    config = InputConfig((3, 8, 8), tuple(mean.tolist()), tuple(std.tolist()))
    picture = grid(images, config)
    assert picture.shape == (8 * 5 - 1, 8 * 6 - 1, 3)
    assert np.abs(picture[5:9, 6:11].astype(float) - 255 * raw[9].permute(1, 2, 0).numpy()).max() <= 1
    assert (picture[4] == 0).all()
    assert (picture[:, 5] == 0).all()


def test_samples_of_bytes_are_shown_from_black_to_white() -> None:
    raw = torch.rand(4, 1, 8, 8) * 255
    config = InputConfig((1, 8, 8), (110.0,), (60.0,))
    picture = grid((raw - 110) / 60, config)
    assert np.abs(picture[:8, :8, 0].astype(float) - raw[0, 0].numpy()).max() <= 1


@pytest.mark.parametrize(("channels", "shown"), [(1, 1), (2, 3), (3, 3), (4, 3)])
def test_samples_of_unknown_scale_are_stretched(channels: int, shown: int) -> None:
    picture = grid(torch.randn(5, channels, 8, 8) * 7 - 3, InputConfig((channels, 8, 8)))
    assert picture.shape == (17, 17, shown)
    if channels in (1, 3):
        assert picture.max() > 150
    if channels == 2:
        assert (picture[:, :, 2] == 0).all()
    assert np.isfinite(grid(torch.zeros(2, channels, 8, 8), InputConfig((channels, 8, 8)))).all()


def test_recalibration_measures_the_batches() -> None:
    student = nn.Sequential(nn.BatchNorm2d(2), nn.Dropout(0.5))
    batches = [torch.randn(64, 2, 4, 4) * 3 + 5 for _ in range(4)]
    assert recalibrate(student, batches) == 4
    layer = student[0]
    assert layer.momentum == 0.1
    assert not student.training
    everything = torch.cat(batches)
    torch.testing.assert_close(layer.running_mean, everything.mean(dim=(0, 2, 3)), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(layer.running_var, everything.var(dim=(0, 2, 3)), atol=0.1, rtol=0.02)


def test_recalibration_without_bn_runs_nothing() -> None:
    def never() -> object:
        raise AssertionError("a batch was asked for")
        yield

    assert recalibrate(nn.Linear(2, 2), never()) == 0


def test_history_is_thinned_not_cut(tiny, monkeypatch) -> None:
    monkeypatch.setattr(monitor, "HISTORY_LIMIT", 16)
    from dfad_core.training.trainer import distill

    result = distill(
        tiny.classifier(4), tiny.classifier(4), tiny.config(steps=60), generator=tiny.generator()
    )
    steps = [h["step"] for h in result.history]
    assert len(steps) <= 16
    assert steps[0] == 1
    assert steps[-1] == 60
    assert steps == sorted(set(steps))
