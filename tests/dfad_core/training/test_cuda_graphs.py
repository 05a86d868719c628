"""Recorded steps are the steps: with a stand-in recorder on the CPU, with CUDA's own where there is a GPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from dfad_core.profiling import profiled
from dfad_core.training import run_state as session
from dfad_core.training import runtime
from dfad_core.training.cuda_graphs import WARM_UP, Body, Replay, Tensors
from dfad_core.training.run_state import RunState
from dfad_core.training.trainer import distill


class StandIn:
    """Replays by running the body again on the tensors it was recorded on, into the tensors it gave."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def warm_up(self, body: Body, inputs: Tensors) -> Tensors:
        return body(inputs)

    def record(self, body: Body, inputs: Tensors) -> tuple[Callable[[], None], Tensors]:
        self.recorded += 1
        outputs: Tensors = {}

        def replay() -> None:
            self.replayed += 1
            outputs.update(body(inputs))

        return replay, outputs


class Queries:
    queries = 0


def test_after_the_warm_up_inputs_are_copied_and_outputs_are_copies() -> None:
    stand_in, counter = StandIn(), Queries()
    replay = Replay(stand_in)
    seen = []

    def body(inputs: Tensors) -> Tensors:
        counter.queries += 2
        seen.append(inputs["x"].data_ptr())
        return {"y": inputs["x"] + 1}

    for value in range(WARM_UP + 4):
        x = torch.full((3,), float(value))
        assert replay.run(body, {"x": x}, counter)["y"].tolist() == [value + 1] * 3
    assert (stand_in.recorded, stand_in.replayed) == (1, 4)
    assert len(set(seen[WARM_UP:])) == 1
    assert counter.queries == 2 * (WARM_UP + 4)


def test_other_forms_are_recorded_apart_and_a_profile_looks_inside() -> None:
    stand_in, counter = StandIn(), Queries()
    replay = Replay(stand_in)
    for _ in range(WARM_UP + 1):
        for size in (2, 3):
            replay.run(lambda inputs: inputs, {"x": torch.zeros(size)}, counter)
    assert stand_in.recorded == 2
    with profiled():
        replay.run(lambda inputs: inputs, {"x": torch.zeros(2)}, counter)
    assert stand_in.replayed == 2


@pytest.mark.parametrize("method", ["auto", "best", "zskt"])
def test_a_recorded_run_is_the_run(tiny, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    def student() -> tuple[list[torch.Tensor], float]:
        config = tiny.config(method={"name": method, "bn_weight": 1.0}, steps=7)
        result = distill(tiny.classifier(8), tiny.classifier(4, seed=1), config)
        return list(result.student.state_dict().values()), result.metrics["teacher_queries"]

    plain, asked = student()
    stand_in = StandIn()
    monkeypatch.setattr(RunState, "_replay", lambda self: Replay(stand_in))
    make = session.make_optimizer

    def unrecorded(*arguments: Any, recorded: bool) -> torch.optim.Optimizer:
        """The rate as a tensor would round otherwise; that is the GPU's business."""
        return make(*arguments)

    monkeypatch.setattr(session, "make_optimizer", unrecorded)
    monkeypatch.setattr("dfad_core.training.image_sources.make_optimizer", unrecorded)
    recorded, asked_then = student()
    assert stand_in.replayed > 0
    assert all(torch.equal(a, b) for a, b in zip(plain, recorded, strict=True))
    assert asked_then == asked


def test_rates_as_tensors_are_written_in_place(tiny) -> None:
    config = tiny.config(student_optimizer="sgd")
    made = RunState(tiny.classifier(8), tiny.classifier(4), None, config, runtime.resolve(config))
    phase = made.student_phase
    rate = phase.optimizer.param_groups[0]["lr"] = torch.tensor(0.0)
    phase.set_rate(0.5)
    assert phase.optimizer.param_groups[0]["lr"] is rate
    assert phase.rate == pytest.approx(0.5 * 0.05)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("method", ["auto", "best"])
def test_on_cuda_a_recorded_run_ends_near_the_plain_one(tiny, method: str) -> None:
    def student(graphs: bool) -> list[torch.Tensor]:
        config = tiny.config(method={"name": method}, steps=20, device="cuda")
        training = dataclasses.replace(config.training, cuda_graphs=graphs)
        config = dataclasses.replace(config, training=training)
        result = distill(tiny.classifier(8), tiny.classifier(4, seed=1), config)
        return [p.detach() for p in result.student.parameters()]

    for plain, recorded in zip(student(False), student(True), strict=True):
        torch.testing.assert_close(plain, recorded, rtol=1e-2, atol=1e-3)
