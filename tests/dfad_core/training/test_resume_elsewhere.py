"""A run that goes on on another machine: other precision, other device, or not at all and a clear error."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from dfad_core.contract.errors import CheckpointError
from dfad_core.data import Streams
from dfad_core.hooks import Hooks
from dfad_core.training import checkpoint, runtime
from dfad_core.training.run_state import RunState
from dfad_core.training.trainer import distill, train_round


class Keeper(Hooks):
    """Keeps the newest checkpoint."""

    data = b""

    def checkpoint(self, step: int, data: bytes) -> None:
        self.data = data


def _run(tiny, precision: str, method: str = "best", **changes: Any) -> RunState:
    config = tiny.config(method={"name": method}, precision=precision, **changes)
    run = RunState(tiny.classifier(8), tiny.classifier(4, seed=1), None, config, runtime.resolve(config))
    run.clock.start()
    return run


@pytest.mark.parametrize(("first", "then"), [("bfloat16", "float32"), ("float32", "bfloat16")])
@pytest.mark.parametrize("method", ["best", "cmi"])
def test_a_run_changes_its_precision(tiny, first: str, then: str, method: str) -> None:
    short = {"inner_steps": 2, "student_steps": 2}
    before = _run(tiny, first, method, **short)
    train_round(before, lambda *_: None)
    after = _run(tiny, then, method, **short)
    after.load_state_dict(before.state_dict())
    for _ in range(2):
        train_round(after, lambda *_: None)
    assert after.clock.step == 3
    assert {b.images_BCHW.dtype for b in after.pool.recent(9)} == {after.runtime.storage_dtype}


def test_streams_of_another_kind_of_device_go_on_from_a_seed_of_their_state() -> None:
    streams = Streams(3, torch.device("cpu"))
    of_a_gpu = {**streams.state_dict(), "noise": torch.arange(16, dtype=torch.uint8)}
    draws = []
    for _ in range(2):
        other = Streams(3, torch.device("cpu"))
        other.load_state_dict(of_a_gpu)
        draws.append(other.noise(4, 5))
    assert torch.equal(*draws)
    assert not torch.equal(draws[0], Streams(3, torch.device("cpu")).noise(4, 5))


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("student", {}),
        ("pool", {"next": 0}),
        ("student_optimizer", {"state": {}, "param_groups": []}),
        ("streams", {}),
    ],
)
def test_a_state_that_does_not_fit_is_a_checkpoint_error(tiny, part: str, value: dict[str, Any]) -> None:
    run = _run(tiny, "float32")
    state = {**run.state_dict(), part: value}
    with pytest.raises(CheckpointError, match="does not fit"):
        _run(tiny, "float32").load_state_dict(state)


def _resealed(data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """The checkpoint with its state changed."""
    state = checkpoint.unpack(data, data[8:40])
    change(state["processes"][0])
    return checkpoint.pack(state, data[8:40])


@pytest.mark.parametrize(
    ("part", "name"), [("monitor", "history"), ("monitor", "collapse"), ("run", "pixels")]
)
def test_a_checkpoint_without_a_part_is_a_checkpoint_error(tiny, part: str, name: str) -> None:
    hooks = Keeper()
    distill(tiny.classifier(8), tiny.classifier(4, seed=1), tiny.config(steps=1), hooks)
    lacking = _resealed(hooks.data, lambda state: state[part].pop(name))
    with pytest.raises(CheckpointError, match=name):
        distill(tiny.classifier(8), tiny.classifier(4, seed=1), tiny.config(steps=1), resume=lacking)


def test_a_resumed_run_keeps_the_range_and_the_queries(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine could estimate another range; it does not estimate at all."""
    hooks, config = Keeper(), tiny.config(steps=2)
    result = distill(tiny.classifier(8), tiny.classifier(4, seed=1), config, hooks)
    monkeypatch.setattr("dfad_core.training.run_state.pixel_range", None)
    resumed = distill(tiny.classifier(8), tiny.classifier(4, seed=1), config, resume=hooks.data)
    assert result.synthetic_BCHW is not None
    assert torch.equal(result.synthetic_BCHW, resumed.synthetic_BCHW)
    assert resumed.metrics == result.metrics


def test_a_checkpoint_serves_a_run_with_other_reporting(tiny) -> None:
    hooks = Keeper()
    config = tiny.config(steps=3)
    distill(tiny.classifier(8), tiny.classifier(4, seed=1), config, hooks)
    other = dataclasses.replace(config, progress_seconds=60)
    result = distill(tiny.classifier(8), tiny.classifier(4, seed=1), other, resume=hooks.data)
    assert result.steps == 3
