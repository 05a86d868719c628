"""What a GPU does, as far as a processor can show it: the deferred guard, streams, resumed optimizers."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import nn

from dfad_core.contract.errors import DivergedError
from dfad_core.contract.methods import METHODS
from dfad_core.evaluation.held_out import held_out_images
from dfad_core.training.finite_guard import FiniteGuard
from dfad_core.training.optimizers import load_optimizer, make_optimizer
from dfad_core.training.search_phase import fresh_weights
from dfad_core.training.trainer import distill

SHORT = {"student_steps": 2, "inner_steps": 2, "pool_batches": 4}


@pytest.fixture
def deferred(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs look at their losses as they do on CUDA. The fused CPU kernels obey the flag, too."""
    monkeypatch.setattr(
        "dfad_core.training.run_state.FiniteGuard", functools.partial(FiniteGuard, deferred=True)
    )


@pytest.mark.parametrize("name", METHODS)
def test_every_method_runs_with_the_guard_of_cuda(tiny, deferred: None, name: str) -> None:
    config = tiny.config(method={"name": name}, steps=3, **SHORT)
    result = distill(tiny.classifier(8), tiny.classifier(4, seed=1), config)
    assert result.steps == 3
    assert all(torch.isfinite(t).all() for t in result.student.state_dict().values())


@pytest.mark.parametrize("name", METHODS)
def test_no_method_learns_from_a_loss_that_is_not_finite(tiny, deferred: None, name: str) -> None:
    teacher, student, generator = tiny.classifier(8), tiny.classifier(4, seed=1), tiny.generator()
    with torch.no_grad():
        teacher[-1].bias.fill_(float("nan"))
    before = [p.detach().clone() for net in (student, generator) for p in net.parameters()]
    # One report, at the end: until then nobody reads the flag.
    config = tiny.config(method={"name": name}, steps=2, progress_seconds=60, **SHORT)
    with pytest.raises(DivergedError):
        distill(teacher, student, config, generator=generator)
    after = [p.detach() for net in (student, generator) for p in net.parameters()]
    restarts = name in ("nayer", "cmi")  # their generators begin with other weights in every search
    kept = len(list(student.parameters())) if restarts else len(after)
    assert all(torch.equal(a, b) for a, b in zip(before[:kept], after[:kept], strict=True))
    assert all(torch.isfinite(t).all() for t in after)


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_a_deferred_guard_skips_every_later_update(kind: str) -> None:
    module = nn.Linear(2, 1)
    before = [p.detach().clone() for p in module.parameters()]
    optimizer = make_optimizer(kind, list(module.parameters()), 0.1)
    guard = FiniteGuard(torch.device("cpu"), deferred=True)
    guard.raise_if_set()
    for scale in (float("inf"), 1.0):
        optimizer.zero_grad()
        loss = module(torch.ones(3, 2)).sum() * scale
        loss.backward()
        guard.check(loss, optimizer, "student")
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
    with pytest.raises(DivergedError):
        guard.raise_if_set()


def test_a_guard_that_is_not_deferred_raises_at_once() -> None:
    module = nn.Linear(2, 1)
    optimizer = make_optimizer("adam", list(module.parameters()), 0.1)
    guard = FiniteGuard(torch.device("cpu"))
    guard.check(torch.tensor(1.0), optimizer, "student")
    with pytest.raises(DivergedError, match="student"):
        guard.check(torch.tensor(float("nan")), optimizer, "student")


def test_only_the_device_in_use_is_asked_for_its_random_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in ("get_rng_state", "set_rng_state"):
        monkeypatch.setattr(torch.cuda, name, lambda *arguments: asked.append(arguments))
    module, stream = nn.Linear(2, 2), torch.get_rng_state()
    fresh_weights(module, 1)
    first = module.weight.detach().clone()
    held_out_images((1, 8, 8), 1, None, 0)
    fresh_weights(module, 1)
    assert torch.equal(module.weight, first)
    assert torch.equal(torch.get_rng_state(), stream)
    assert asked == []


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_a_resumed_optimizer_keeps_its_rate_where_recordings_read_it(kind: str, before: bool) -> None:
    def made(recorded: bool) -> tuple[nn.Module, torch.optim.Optimizer]:
        module = nn.Linear(2, 1)
        return module, make_optimizer(kind, list(module.parameters()), 0.5, rate_as_tensor=recorded)

    module, optimizer = made(before)
    module(torch.ones(3, 2)).sum().backward()
    for _ in range(2):
        optimizer.step()
    for recorded in (True, False):
        _, resumed = made(recorded)
        group = dict(resumed.param_groups[0])
        load_optimizer(resumed, optimizer.state_dict())
        assert resumed.param_groups[0]["lr"] is group["lr"]
        assert isinstance(group["lr"], torch.Tensor) == recorded
        assert resumed.param_groups[0].get("capturable") == group.get("capturable")
        ours, theirs = (one.state_dict()["state"] for one in (resumed, optimizer))
        assert ours.keys() == theirs.keys()
        for place, values in theirs.items():
            assert all(torch.equal(ours[place][name], value) for name, value in values.items())


class SometimesNaN(nn.Module):
    """A teacher whose answer is NaN for a share of all images, as if at random."""

    def __init__(self, network: nn.Module, share: float) -> None:
        super().__init__()
        self.network, self.share = network, share

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        bad_B = (images_BCHW.detach().float().sum(dim=(1, 2, 3)) * 1000) % 1 < self.share
        return self.network(images_BCHW) + torch.where(bad_B, torch.nan, 0.0)[:, None]


@pytest.mark.parametrize("name", ["best", "auto", "level_sets", "mad", "zskt"])
@pytest.mark.parametrize("deferring", [False, True])
def test_a_few_answers_that_are_not_finite_are_left_out(
    tiny, monkeypatch: pytest.MonkeyPatch, name: str, deferring: bool
) -> None:
    if deferring:
        deferred_guard = functools.partial(FiniteGuard, deferred=True)
        monkeypatch.setattr("dfad_core.training.run_state.FiniteGuard", deferred_guard)
    teacher = SometimesNaN(tiny.classifier(8), 0.03)
    config = tiny.config(method={"name": name}, steps=30, batch_size=32, **SHORT)
    result = distill(teacher, tiny.classifier(4, seed=1), config)
    assert result.steps == 30
    assert all(torch.isfinite(t).all() for t in result.student.state_dict().values())
    assert 0 < result.metrics["dropped_images"] < 0.1 * result.metrics["teacher_queries"]


@pytest.mark.parametrize("name", ["best", "level_sets"])
def test_many_answers_that_are_not_finite_are_an_error_that_says_so(tiny, name: str) -> None:
    teacher = SometimesNaN(tiny.classifier(8), 0.3)
    config = tiny.config(method={"name": name}, steps=200, batch_size=32, **SHORT)
    with pytest.raises(DivergedError, match="the teacher's answers to") as caught:
        distill(teacher, tiny.classifier(4, seed=1), config)
    assert caught.value.code == "teacher_not_finite"


def test_slices_keep_two_images_where_some_are_left_out(tiny) -> None:
    teacher = SometimesNaN(tiny.classifier(8), 0.05)
    config = tiny.config(method={"name": "level_sets"}, steps=12, batch_size=8, accumulation=4)
    result = distill(teacher, tiny.classifier(4, seed=1), config)
    assert result.steps == 12
    assert result.metrics["dropped_images"] > 0


def test_what_a_deferred_guard_has_not_read_yet_is_in_the_checkpoint() -> None:
    guard, resumed = (FiniteGuard(torch.device("cpu"), deferred=True) for _ in range(2))
    logits_BK = torch.zeros(300, 2)
    logits_BK[0] = torch.nan
    assert guard.finite_rows(logits_BK) is None
    resumed.load_state_dict(guard.state_dict())
    resumed.check(
        torch.tensor(torch.nan), make_optimizer("adam", [nn.Parameter(torch.ones(1))], 0.1), "student"
    )
    assert resumed.raise_if_set(300)
    assert resumed.row_checks


def test_a_student_is_given_back_whatever_ends_the_run(tiny) -> None:
    student = tiny.classifier(4, seed=1)
    with pytest.raises(DivergedError):
        distill(SometimesNaN(tiny.classifier(8), 1.0), student, tiny.config())
    assert all(p.requires_grad for p in student.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in student.modules())
