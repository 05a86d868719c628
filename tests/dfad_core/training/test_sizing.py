"""Runs in little memory or little time: slices that fit, the same student again, and refusals beforehand."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from dfad_core.contract.errors import ConfigError, Stopped
from dfad_core.contract.limits import Limits
from dfad_core.data.batch import Batch
from dfad_core.hooks import DistillResult, Hooks
from dfad_core.training import runtime, sizing
from dfad_core.training.run_state import RunState
from dfad_core.training.trainer import distill, train_round

ENOUGH = 2**40


class Witness(Hooks):
    """Records events and phases; stops after `steps`, with a checkpoint."""

    def __init__(self, steps: int = 10**6) -> None:
        self.events: dict[str, dict] = {}
        self.phases: list[str] = []
        self.data = b""
        self._left = steps

    def note(self, code, data) -> None:
        self.events[code] = data

    warn = note

    def phase(self, name: str) -> None:
        self.phases.append(name)

    def checkpoint(self, step: int, data: bytes) -> None:
        self.data = data

    def should_stop(self) -> str | None:
        self._left -= 1
        return "enough" if self._left <= 0 else None


@pytest.fixture
def memory(monkeypatch):
    """Sets the memory there is to what `images` of a slice need, or to a number of bytes."""

    def have(tiny, config, images: int | None = None, free: int = ENOUGH, bn: bool = True) -> None:
        monkeypatch.setattr(sizing, "free_memory", lambda _limit: ENOUGH)
        if images is not None:
            # Without what does not depend on slices, so that the tiny networks decide.
            monkeypatch.setattr("dfad_core.contract.limits.PROGRAM_BYTES", 0)
            monkeypatch.setattr("dfad_core.contract.limits.DRAWING_COPIES", 0)
            monkeypatch.setattr("dfad_core.contract.limits.IMAGES_ALIVE", 0)
            run = RunState(
                tiny.classifier(8, bn=bn), tiny.classifier(4, seed=1), None, config, runtime.resolve(config)
            )
            slices = config.training.batch_size // images
            free = int(run.sizing.memory.training_bytes(slices) / 0.8) + 1
            free -= sum(map(sizing.network_bytes, (run.teacher, run.student)))
            run.close()
        monkeypatch.setattr(sizing, "free_memory", lambda _limit: free)

    return have


def _train(tiny, config, hooks: Hooks | None = None, **more) -> DistillResult:
    return distill(tiny.classifier(8), tiny.classifier(4, seed=1), config, hooks, **more)


def _same(one: DistillResult, other: DistillResult) -> bool:
    pairs = zip(one.student.state_dict().values(), other.student.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("method", ["collages", "fast", "dfad"])
def test_a_batch_is_sliced_to_fit_and_the_student_is_that_of_the_setting(tiny, memory, method: str) -> None:
    changes = {"batch_size": 32, "inner_steps": 2} if method != "dfad" else {"batch_size": 32}
    config = tiny.config(method={"name": method}, steps=2, **changes)
    memory(tiny, config, images=8)
    hooks = Witness()
    sliced = _train(tiny, config, hooks)
    event = hooks.events["batch_sliced"]
    assert (event["slices"], event["images"]) == (4, 8)
    assert "poor statistics" in event["message"]
    assert _same(sliced, _train(tiny, config))
    set_by_hand = tiny.config(method={"name": method}, steps=2, accumulation=4, **changes)
    hooks = Witness()
    assert _same(sliced, _train(tiny, set_by_hand, hooks))
    assert "batch_sliced" not in hooks.events
    memory(tiny, config)
    hooks = Witness()
    assert not _same(sliced, _train(tiny, config, hooks))
    assert "batch_sliced" not in hooks.events


def test_slices_of_32_images_are_a_note_without_a_warning(tiny, memory) -> None:
    config = tiny.config(method={"name": "collages"}, steps=1, batch_size=64, inner_steps=1, pool_batches=1)
    memory(tiny, config, images=32)
    hooks = Witness()
    _train(tiny, config, hooks)
    assert "poor" not in hooks.events["batch_sliced"]["message"]


def test_a_run_goes_on_in_the_slices_that_it_began_with(tiny, memory) -> None:
    config = tiny.config(method={"name": "collages"}, steps=4, batch_size=32, inner_steps=2)
    memory(tiny, config, images=8)
    undisturbed = _train(tiny, config)
    stopped = Witness(steps=2)
    with pytest.raises(Stopped):
        _train(tiny, config, stopped)
    memory(tiny, config)
    assert _same(undisturbed, _train(tiny, config, resume=stopped.data))


@pytest.mark.parametrize("method", ["deepinversion", "cmi", "fast", "nayer", "spaceshipnet", "collages"])
def test_a_search_in_slices_gives_a_whole_batch(tiny, method: str) -> None:
    config = tiny.config(method={"name": method}, steps=1, batch_size=16, accumulation=4, inner_steps=2)
    teacher = tiny.classifier(8)
    run = RunState(teacher, tiny.classifier(4, seed=1), None, config, runtime.resolve(config))
    sizes: list[int] = []
    teacher.register_forward_pre_hook(lambda _module, inputs: sizes.append(len(inputs[0])))
    run.clock.start()
    batch = train_round(run, lambda *_: None)
    run.close()
    assert isinstance(batch, Batch)
    assert len(batch) == 16
    assert batch.images_BCHW.flatten(1).unique(dim=0).shape[0] == 16
    assert set(sizes) == {4}, "no pass of the teacher sees more than a slice"


def test_a_pool_of_the_methods_own_size_takes_an_eighth_of_the_memory(tiny, memory) -> None:
    config = tiny.config(method={"name": "collages"}, steps=1, pool_batches=None, inner_steps=1)
    own = tiny.config(method={"name": "collages"}, steps=1, pool_batches=20, inner_steps=1)
    free = 8 * 10 * config.pool_batch_bytes * 2  # float32 has twice the bytes that `pool_batch_bytes` assumes
    memory(tiny, config, free=free)
    run = RunState(tiny.classifier(8), tiny.classifier(4), None, config, runtime.resolve(config))
    assert 8 <= run.pool.capacity <= 30
    run.close()
    run = RunState(tiny.classifier(8), tiny.classifier(4), None, own, runtime.resolve(own))
    assert run.pool.capacity == 20
    run.close()


def test_what_does_not_fit_is_refused_before_the_first_round(tiny, memory) -> None:
    config = tiny.config(method={"name": "collages"}, steps=4, inner_steps=2)
    stopped = Witness(steps=2)
    with pytest.raises(Stopped):
        _train(tiny, config, stopped)
    memory(tiny, config, free=2**20)
    hooks = Witness()
    with pytest.raises(ConfigError) as caught:
        _train(tiny, config, hooks)
    assert caught.value.code == "memory_limit"
    assert hooks.phases == ["warming_up"]
    _train(tiny, config, resume=stopped.data)  # what has begun is not refused


def test_what_cannot_end_in_time_is_refused_before_the_first_round(tiny, monkeypatch) -> None:
    monkeypatch.setattr(RunState, "round_seconds", lambda _self: sizing.RoundSeconds(10.0, 10.0))
    config = tiny.config(method={"name": "collages"}, steps=100, inner_steps=1)
    hooks = Witness()
    with pytest.raises(ConfigError) as caught:
        _train(tiny, config, hooks, limits=Limits(deadline_seconds=500))
    assert caught.value.code == "deadline_too_short"
    assert "10.00 s a step" in caught.value.message
    assert hooks.phases == ["warming_up"]


def test_what_may_be_late_is_warned_of_and_what_ends_by_the_clock_runs(tiny, monkeypatch) -> None:
    # Nine tenths of the processors are another program's: that may be over soon.
    monkeypatch.setattr(RunState, "round_seconds", lambda _self: sizing.RoundSeconds(10.0, 0.01))
    late = tiny.config(method={"name": "collages"}, steps=2, inner_steps=1)
    hooks = Witness()
    _train(tiny, late, hooks, limits=Limits(deadline_seconds=100))
    assert "`max_runtime_seconds` leaves 100" in hooks.events["deadline_at_risk"]["message"]
    clocked = tiny.config(method={"name": "collages"}, steps=10**6, train_seconds=0.2, inner_steps=1)
    hooks = Witness()
    _train(tiny, clocked, hooks, limits=Limits(deadline_seconds=3600))
    assert "deadline_at_risk" not in hooks.events


def test_the_trial_passes_change_nothing(tiny) -> None:
    config = tiny.config(method={"name": "collages"}, steps=2, inner_steps=1)
    plain, limited = _train(tiny, config), _train(tiny, config, limits=Limits(deadline_seconds=1e6))
    assert _same(plain, limited)
    assert plain.metrics["teacher_queries"] == limited.metrics["teacher_queries"]


def test_a_round_counts_every_pass(tiny, monkeypatch) -> None:
    """With passes of known times: 2 s a label, 3 s a fit, 5 s an update, for each image."""
    two = np.array([1.0, 0.5])
    monkeypatch.setattr(sizing, "_seconds", lambda _call, _runtime: 16 * 2 * two)
    gradients = iter([5 * two, 3 * two])  # the student's, then the teacher's
    monkeypatch.setattr(sizing, "_gradient_seconds", lambda *_: next(gradients))
    config = tiny.config(method={"name": "collages"}, inner_steps=4, student_steps=6)
    run = RunState(tiny.classifier(8), tiny.classifier(4), None, config, runtime.resolve(config))
    labelled = run.recipe.labelled_batches
    found = run.round_seconds()
    assert found.now == pytest.approx(16 * ((4 * 3 + 2) / 10 + labelled * 2 + 6 * 5))
    assert found.alone == pytest.approx(found.now / 2)
    run.close()


PEAK = """
import torch
from benchmarks.large_images import resident
from dfad_core.contract.config import DistillConfig, InputConfig, MethodConfig, TrainingConfig
from dfad_core.networks import build_classifier
from dfad_core.training import runtime
from dfad_core.training.run_state import RunState
from dfad_core.training.trainer import train_round

torch.set_num_threads(1)
teacher, student = (
    build_classifier("resnet8", num_classes=1000, input_shape=(3, 64, 64), args={"width": width})
    for width in (16, 8)
)
before = resident("VmRSS")
training = TrainingConfig(batch_size=128, pool_batches=1, inner_steps=1, student_steps=1, threads=1)
config = DistillConfig(
    InputConfig((3, 64, 64)), 1000, method=MethodConfig("collages"), training=training, device="cpu"
)
run = RunState(teacher, student, None, config, runtime.resolve(config))
run.clock.start()
train_round(run, lambda *_: None)
print(run.sizing.memory.peak_bytes() / (resident("VmHWM") - before))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_estimate_is_near_the_measured_peak() -> None:
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    assert 1 / 1.5 < float(done.stdout) < 1.5
