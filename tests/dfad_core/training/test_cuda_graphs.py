"""Recorded steps are the steps: with a stand-in recorder on the CPU, with CUDA's own where there is a GPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from dfad_core.training import runtime
from dfad_core.training.cuda_graphs import WARM_UP, GraphedSteps
from dfad_core.training.profiling import profiled
from dfad_core.training.queries import Queries
from dfad_core.training.run_state import RunState
from dfad_core.training.trainer import distill


class StandIn:
    """Replays by calling the step again on the tensors it was recorded on, into the tensors it returned."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def warm_up(self, step: Callable[[], Any]) -> Any:
        return step()

    def record(self, step: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        self.recorded += 1
        outputs: list[Any] = [None]

        def replay() -> None:
            self.replayed += 1
            outputs[0] = step()

        return replay, outputs


class FromOutside:
    """`GraphedSteps` with the stand-in: its recordings return a list of one output."""

    def __init__(self, recorder: StandIn) -> None:
        self._steps = GraphedSteps(recorder, Queries())

    def __call__(self, step: Callable[..., Any], *inputs: Any) -> Any:
        outputs = self._steps(step, *inputs)
        return outputs[0] if isinstance(outputs, list) else outputs


def test_after_the_warm_up_inputs_are_copied_and_outputs_are_copies() -> None:
    recorder = StandIn()
    steps = FromOutside(recorder)
    seen = []

    def step(x: torch.Tensor, beside: dict[str, torch.Tensor]) -> tuple[torch.Tensor, str]:
        seen.append(x.data_ptr())
        return x + beside["y"], "sum"

    results = []
    for value in range(WARM_UP + 4):
        x = torch.full((3,), float(value))
        results.append(steps(step, x, {"y": torch.ones(3)}))
    assert [(total.tolist(), name) for total, name in results] == [
        ([value + 1.0] * 3, "sum") for value in range(WARM_UP + 4)
    ]
    assert (recorder.recorded, recorder.replayed) == (1, 4)
    assert len(set(seen[WARM_UP:])) == 1


def test_other_forms_are_recorded_apart_and_a_profile_looks_inside() -> None:
    recorder = StandIn()
    steps = FromOutside(recorder)

    def step(x: torch.Tensor) -> tuple[torch.Tensor]:
        return (x,)

    for _ in range(WARM_UP + 1):
        for size in (2, 3):
            steps(step, torch.zeros(size))
    assert recorder.recorded == 2
    with profiled():
        steps(step, torch.zeros(2))
    assert recorder.replayed == 2


def test_replays_count_the_queries_of_the_recording() -> None:
    """As on CUDA: the step's Python runs in the warm-up and in the recording, and in no replay."""
    queries, teacher = Queries(), torch.nn.Linear(4, 2)

    class Silent(StandIn):
        def record(self, step: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
            outputs = step()
            return (lambda: None), outputs

    steps = GraphedSteps(Silent(), queries)
    with queries.counting(teacher):
        for _ in range(WARM_UP + 4):
            steps(teacher, torch.zeros(5, 4))
    assert queries.images == 5 * (WARM_UP + 4)


@pytest.mark.parametrize("method", ["auto", "best", "zskt", "dfad_ar"])
def test_a_recorded_run_is_the_run(tiny, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    def student() -> tuple[list[torch.Tensor], float]:
        config = tiny.config(method={"name": method, "bn_weight": 1.0}, steps=7)
        result = distill(tiny.classifier(8), tiny.classifier(4, seed=1), config)
        return list(result.student.state_dict().values()), result.metrics["teacher_queries"]

    plain, queries = student()
    recorder = StandIn()
    steps = FromOutside(recorder)
    monkeypatch.setattr(RunState, "call", lambda run, step, *inputs: steps(step, run, *inputs))
    recorded, recorded_queries = student()
    assert recorder.replayed > 0
    assert all(torch.equal(a, b) for a, b in zip(plain, recorded, strict=True))
    assert recorded_queries == queries


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
