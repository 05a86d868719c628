import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dfad_core.contract.errors import CheckpointError, ConfigError, DivergedError, ShapeError, Stopped
from dfad_core.contract.evaluation_plan import SHARES, judge_images
from dfad_core.hooks import Hooks, Progress
from dfad_core.training.trainer import distill


class Witness(Hooks):
    """Writes everything down, and asks to stop after a given step."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after = stop_after
        self.phases: list[str] = []
        self.reports: list[Progress] = []
        self.grids: list[np.ndarray] = []
        self.checkpoints: dict[int, bytes] = {}
        self.events: list[tuple[str, Mapping[str, Any]]] = []
        self.asked = 0

    def phase(self, name: str) -> None:
        self.phases.append(name)

    def progress(self, progress: Progress) -> None:
        self.reports.append(progress)

    def samples(self, step: int, grid_HWC: np.ndarray) -> None:
        self.grids.append(grid_HWC)

    def checkpoint(self, step: int, data: bytes) -> None:
        self.checkpoints[step] = data

    def note(self, code: str, data: Mapping[str, object]) -> None:
        self.events.append((code, data))

    def warn(self, code: str, data: Mapping[str, object]) -> None:
        self.events.append((code, data))

    def should_stop(self) -> str | None:
        self.asked += 1
        return "enough" if self.asked == self.stop_after else None


def _state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in module.state_dict().items()}


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("method", ["auto", "dfad", "dfad_ar", "dfad_vi", "dfad_ar_vi"])
@pytest.mark.parametrize("bn", [True, False])
def test_the_game_is_reported(tiny, method: str, bn: bool) -> None:
    teacher, student, witness = tiny.classifier(8, bn=bn), tiny.classifier(4, bn=bn, seed=1), Witness()
    before, student_before = _state(teacher), _state(student)
    config = tiny.config(method={"name": method})
    result = distill(teacher, student, config, witness, generator=tiny.generator())
    assert result.steps == 6
    assert result.student is student
    assert not result.student.training
    assert _same(before, _state(teacher))
    assert not _same(student_before, _state(student))
    assert witness.phases == ["warming_up", "distilling", "evaluating"]
    assert [r.step for r in witness.reports] == list(range(1, 7))
    expected = {"discrepancy", "student_discrepancy", "student_loss", "generator_loss"}
    expected |= {"activation_boundary"} if method in ("auto", "dfad_ar", "dfad_ar_vi") else set()
    expected |= {"virtual_interpolation"} if method in ("auto", "dfad_vi", "dfad_ar_vi") else set()
    expected |= {"bn_statistics"} if method == "auto" and bn else set()
    figures = {
        "agreement",
        "class_entropy",
        "sample_distance",
        "step_seconds",
        "learning_rate",
        "teacher_queries",
        "threads",
    }
    for report in witness.reports:
        assert set(report.metrics) == expected | figures
        assert all(np.isfinite(list(report.metrics.values())))
    assert witness.reports[-1].metrics == result.metrics
    assert witness.reports[-1].fraction == 1
    assert witness.reports[-1].eta_seconds > 0  # evaluation is still to come
    assert {
        f"{figure}_{source}" for figure in ("agreement", "divergence", "gap") for source in SHARES
    } <= set(result.fidelity)
    assert result.prediction is not None
    assert len(result.history) == 6


def test_the_student_learns(tiny) -> None:
    config = tiny.config(steps=150, batch_size=32, student_learning_rate=1e-2, progress_seconds=60)
    teacher = tiny.classifier(8)
    pupil, untrained = tiny.classifier(6, seed=1), tiny.classifier(6, seed=1)
    trained = distill(teacher, pupil, config, generator=tiny.generator())
    idle = distill(
        teacher, untrained, tiny.config(steps=1, student_learning_rate=1e-9), generator=tiny.generator()
    )
    assert trained.fidelity["gap_drawn"] < 0.7 * idle.fidelity["gap_drawn"]


def test_nothing_the_caller_owns_is_disturbed(tiny) -> None:
    torch.manual_seed(123)
    stream, threads = torch.get_rng_state(), torch.get_num_threads()
    teacher = tiny.classifier(4)
    distill(teacher, tiny.classifier(4), tiny.config(steps=2, threads=1), generator=tiny.generator())
    assert torch.equal(stream, torch.get_rng_state())
    assert torch.get_num_threads() == threads
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in teacher.modules())


@pytest.mark.parametrize("pool_batches", [0, 1, 4])
@pytest.mark.parametrize("bn", [True, False])
def test_an_interrupted_run_ends_as_the_undisturbed_one(tiny, pool_batches: int, bn: bool) -> None:
    config = tiny.config(steps=9, pool_batches=pool_batches)
    teacher = tiny.classifier(8, bn=bn)

    def play(witness: Witness, resume: bytes | None = None) -> Any:
        student = tiny.classifier(4, bn=bn, seed=1)
        return distill(teacher, student, config, witness, resume=resume, generator=tiny.generator())

    undisturbed = play(Witness())
    witness = Witness(stop_after=5)
    with pytest.raises(Stopped, match="enough") as stopped:
        play(witness)
    partial = stopped.value.result
    assert partial.steps == 5
    assert partial.fidelity == {}
    assert partial.samples is not None
    assert list(witness.checkpoints) == [5]
    torch.manual_seed(999)  # the process that goes on has other global streams
    resumed = play(Witness(), witness.checkpoints[5])
    assert resumed.steps == 9
    assert _same(_state(undisturbed.student), _state(resumed.student))
    assert resumed.fidelity == undisturbed.fidelity
    assert [h["step"] for h in resumed.history] == [h["step"] for h in undisturbed.history]
    for ours, theirs in zip(resumed.history, undisturbed.history, strict=True):
        assert ours["student_loss"] == theirs["student_loss"]
    assert resumed.seconds > partial.seconds


def test_dropout_too_is_resumed_to_the_bit(tiny) -> None:
    config, teacher = tiny.config(steps=6), tiny.classifier(8, bn=False)

    def play(witness: Witness, resume: bytes | None = None) -> Any:
        student = nn.Sequential(nn.Dropout(0.3), tiny.classifier(4, bn=False, seed=1))
        return distill(teacher, student, config, witness, resume=resume, generator=tiny.generator())

    witness = Witness(stop_after=3)
    with pytest.raises(Stopped):
        play(witness)
    assert _same(_state(play(Witness()).student), _state(play(Witness(), witness.checkpoints[3]).student))


def test_the_same_seed_gives_the_same_student_and_another_another(tiny) -> None:
    def play(seed: int) -> dict[str, torch.Tensor]:
        config = tiny.config(seed=seed, steps=3)
        student = tiny.classifier(4, seed=1)
        return _state(distill(tiny.classifier(8), student, config, generator=tiny.generator()).student)

    assert _same(play(0), play(0))
    assert not _same(play(0), play(1))


def test_another_jobs_checkpoint_is_refused(tiny) -> None:
    witness = Witness(stop_after=1)
    teacher = tiny.classifier(8)
    with pytest.raises(Stopped):
        distill(teacher, tiny.classifier(4), tiny.config(), witness, generator=tiny.generator())
    data = witness.checkpoints[1]
    other_teacher = copy.deepcopy(teacher)
    with torch.no_grad():
        next(other_teacher.parameters()).add_(1)
    for changed in (
        (other_teacher, tiny.classifier(4), tiny.config()),
        (teacher, tiny.classifier(5), tiny.config()),
        (teacher, tiny.classifier(4), tiny.config(seed=1)),
    ):
        with pytest.raises(CheckpointError) as caught:
            distill(*changed, resume=data, generator=tiny.generator())
        assert caught.value.code == "foreign_checkpoint"
    relaxed = tiny.config(progress_seconds=5, checkpoint_seconds=9)
    result = distill(teacher, tiny.classifier(4), relaxed, resume=data, generator=tiny.generator())
    assert result.steps == 6


def test_a_checkpoint_of_the_last_step_resumes_to_the_end(tiny) -> None:
    witness = Witness(stop_after=6)
    config, teacher = tiny.config(), tiny.classifier(8)
    with pytest.raises(Stopped):
        distill(teacher, tiny.classifier(4), config, witness, generator=tiny.generator())
    result = distill(
        teacher, tiny.classifier(4), config, resume=witness.checkpoints[6], generator=tiny.generator()
    )
    assert result.steps == 6
    assert result.fidelity
    assert result.samples is not None


class _Poisoned(nn.Module):
    """A network whose answers become NaN at its n-th call in training."""

    def __init__(self, inner: nn.Module, calls: int) -> None:
        super().__init__()
        self.inner, self.left = inner, calls
        self.before: dict[str, torch.Tensor] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.left -= 1
            if self.left <= 0:
                self.before = self.before or _state(self.inner)
                return self.inner(x) * float("nan")
        return self.inner(x)


@pytest.mark.parametrize(("calls", "phase"), [(1, "generator"), (2, "student")])
def test_a_loss_that_is_not_finite_ends_before_its_update(tiny, calls: int, phase: str) -> None:
    student = _Poisoned(tiny.classifier(4, bn=False), calls)
    generator = tiny.generator()
    generator_before = _state(generator)
    config = tiny.config(method={"name": "dfad"})
    with pytest.raises(DivergedError) as caught:
        distill(tiny.classifier(8), student, config, generator=generator)
    assert caught.value.param == phase
    assert _same(student.before, _state(student.inner))
    weights = [k for k, _ in generator.named_parameters()]
    unchanged = all(torch.equal(generator_before[k], generator.state_dict()[k]) for k in weights)
    assert unchanged == (phase == "generator")


def test_what_was_trained_before_a_divergence_is_handed_out(tiny) -> None:
    config = tiny.config(method={"name": "dfad"})
    first_round = config.training.student_steps + 1
    for calls, steps in ((first_round, None), (first_round + 2, 1)):
        student = _Poisoned(tiny.classifier(4, bn=False), calls)
        with pytest.raises(DivergedError) as caught:
            distill(tiny.classifier(8), student, config, generator=tiny.generator())
        result = caught.value.result
        assert (None if result is None else result.steps) == steps
    assert result.student is student
    assert not result.fidelity
    assert all(torch.isfinite(w).all() for w in _state(student.inner).values())


def test_a_larger_student_is_an_event(tiny) -> None:
    witness = Witness()
    result = distill(
        tiny.classifier(4), tiny.classifier(8), tiny.config(steps=1), witness, generator=tiny.generator()
    )
    (kind, data), *_ = witness.events
    assert kind == "student_larger_than_teacher"
    assert data["student_parameters"] > data["teacher_parameters"]
    assert result.events[0] == {"kind": kind, "step": 0, **data}


def test_a_generator_without_variety_is_an_event_told_once(tiny) -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.image = nn.Parameter(torch.randn(1, 1, 8, 8))

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return self.image + 1e-3 * z.mean(dim=1).reshape(-1, 1, 1, 1)

    witness = Witness()
    distill(
        tiny.classifier(4, bn=False),
        tiny.classifier(4, bn=False),
        tiny.config(steps=12, method={"name": "dfad"}),
        witness,
        generator=Constant(),
    )
    assert [kind for kind, _ in witness.events] == ["collapse_suspected"]
    assert witness.events[0][1]["sample_distance"] < 0.1


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 8, 12), (3, 12, 8), (4, 9, 9)])
def test_images_of_any_form(tiny, shape: tuple[int, int, int]) -> None:
    witness = Witness()
    result = distill(
        tiny.classifier(4, channels=shape[0]),
        tiny.classifier(4, channels=shape[0], seed=1),
        tiny.config(steps=1, shape=shape),
        witness,
        generator=tiny.generator(shape),
    )
    assert result.samples is not None
    assert result.samples.dtype == np.uint8
    assert result.samples.shape == (4 * (shape[1] + 1) - 1, 4 * (shape[2] + 1) - 1, 1 if shape[0] == 1 else 3)
    assert np.array_equal(witness.grids[0], result.samples)


def test_networks_that_do_not_fit_are_named(tiny) -> None:
    config = tiny.config()
    with pytest.raises(ShapeError, match="teacher") as caught:
        distill(tiny.classifier(4, channels=3), tiny.classifier(4), config, generator=tiny.generator())
    assert caught.value.param == "teacher"
    wide = nn.Sequential(tiny.classifier(4), nn.Linear(tiny.classes, 7))
    with pytest.raises(ShapeError, match=r"student gives \(2, 7\)"):
        distill(tiny.classifier(4), wide, config, generator=tiny.generator())


def test_a_missing_gpu_is_a_config_error(tiny, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError) as caught:
        distill(
            tiny.classifier(4),
            tiny.classifier(4),
            tiny.config(device="cuda"),
            generator=tiny.generator(),
        )
    assert caught.value.code == "no_cuda_device"


def test_seconds_as_the_budget(tiny) -> None:
    config = tiny.config(steps=10_000_000, train_seconds=0.4)
    witness = Witness()
    result = distill(tiny.classifier(4), tiny.classifier(4), config, witness, generator=tiny.generator())
    assert 0 < result.steps < 10_000_000
    assert result.seconds >= 0.4
    rates = [r.metrics["learning_rate"] for r in witness.reports]
    assert rates[-1] < max(rates)


def test_bfloat16_trains_and_resumes(tiny) -> None:
    config, teacher = tiny.config(precision="bfloat16", steps=4), tiny.classifier(8)

    def play(witness: Witness, resume: bytes | None = None) -> Any:
        student = tiny.classifier(4, seed=1)
        return distill(teacher, student, config, witness, resume=resume, generator=tiny.generator())

    witness = Witness(stop_after=2)
    with pytest.raises(Stopped):
        play(witness)
    whole, resumed = play(Witness()), play(Witness(), witness.checkpoints[2])
    assert all(p.dtype == torch.float32 for p in whole.student.parameters())
    assert _same(_state(whole.student), _state(resumed.student))


class Diary(Witness):
    """Also notes what comes after training, in order, and may ask to stop once the student is there."""

    def __init__(self, stop_after_student: int | None = None) -> None:
        super().__init__()
        self.order: list[str] = []
        self.left = stop_after_student
        self.student: dict[str, torch.Tensor] = {}
        self.complete: bool | None = None

    def phase(self, name: str) -> None:
        super().phase(name)
        self.order.append(name)

    def checkpoint(self, step: int, data: bytes) -> None:
        super().checkpoint(step, data)
        self.order.append(f"checkpoint {step}")

    def student_ready(self, result: Any, *, complete: bool) -> None:
        self.order.append("student")
        assert (result.fidelity, result.evaluation, result.synthetic_BCHW) == ({}, {}, None)
        assert not result.student.training
        self.student, self.complete = _state(result.student), complete

    def should_stop(self) -> str | None:
        if self.complete is None or self.left is None:
            return super().should_stop()
        self.left -= 1
        return "enough" if self.left < 0 else None


def test_the_student_is_handed_over_before_anything_is_measured(tiny, monkeypatch) -> None:
    from dfad_core.training import evaluation as stage

    diary, measure = Diary(), stage.measure_fidelity

    def noted(*args: Any, **options: Any) -> Any:
        diary.order.append("measured")
        return measure(*args, **options)

    monkeypatch.setattr(stage, "measure_fidelity", noted)
    config = tiny.config(checkpoint_seconds=3600)
    result = distill(tiny.classifier(8), tiny.classifier(4), config, diary, generator=tiny.generator())
    after = ["distilling", "checkpoint 6", "evaluating", "student", "measured"]
    assert diary.order == ["warming_up", *after]
    assert diary.complete
    assert _same(diary.student, _state(result.student))
    about = result.evaluation
    assert (about["images"], about["measured"]) == (1024, judge_images(1024))
    assert (about["bound_seconds"], about["complete"]) == (60, True)
    assert about["seconds"] >= 0


@pytest.mark.parametrize("method", ["best", "deepinversion"])
def test_another_attempt_after_training_only_evaluates(tiny, method: str, monkeypatch) -> None:
    from dfad_core.training import evaluation as stage

    config = tiny.config(method={"name": method}, steps=2, inner_steps=2, checkpoint_seconds=3600)
    teacher, first, second = tiny.classifier(8), Diary(), Diary()
    given = {} if method == "deepinversion" else {"generator": tiny.generator()}

    def play(diary: Diary, resume: bytes | None = None) -> Any:
        student = tiny.classifier(4, seed=1)
        return distill(teacher, student, config, diary, resume=resume, **copy.deepcopy(given))

    with monkeypatch.context() as broken:
        broken.setattr(stage, "measure_fidelity", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            play(first)
    assert list(first.checkpoints) == [2]
    result, undisturbed = play(second, first.checkpoints[2]), play(Diary())
    assert second.order == ["warming_up", "distilling", "evaluating", "student"]
    assert second.reports == []
    assert _same(first.student, second.student)
    assert _same(_state(undisturbed.student), _state(result.student))
    assert result.fidelity == undisturbed.fidelity
    assert result.metrics.keys() == undisturbed.metrics.keys()


@pytest.mark.parametrize("left", [0, 3])
def test_a_stop_after_training_leaves_out_what_is_not_measured(tiny, left: int) -> None:
    diary = Diary(stop_after_student=left)
    result = distill(tiny.classifier(8), tiny.classifier(4), tiny.config(), diary, generator=tiny.generator())
    assert (result.steps, diary.complete) == (6, True)
    assert (result.fidelity, result.synthetic_BCHW) == ({}, None)
    assert not result.evaluation["complete"]
    assert result.prediction.reason == "The evaluation did not come to its end."
    assert _same(diary.student, _state(result.student))


def test_an_evaluation_that_takes_too_long_says_so(tiny, monkeypatch) -> None:
    from dfad_core.training import evaluation as stage

    monkeypatch.setattr(stage, "bound_seconds", lambda _: 0.0)
    result = distill(tiny.classifier(8), tiny.classifier(4), tiny.config(), generator=tiny.generator())
    assert (result.fidelity, result.judge_sets, result.prediction.images) == ({}, {}, 0)
    assert result.prediction.reason == (
        "The evaluation was ended after 0 s, before the judge had seen all of its images."
    )


def test_a_run_ends_with_a_prediction_or_the_reason_why_there_is_none(tiny, monkeypatch) -> None:
    from dfad_core.evaluation import judge

    def play() -> Any:
        return distill(tiny.classifier(8), tiny.classifier(4), tiny.config(), generator=tiny.generator())

    monkeypatch.setattr(judge, "calibration", lambda: None)
    without = play()
    assert without.prediction.reason == "The judge has not been calibrated yet."
    features = tuple(
        judge.Feature(name, value, 1.0, value - 1, value + 1, 0.1)
        for name, value in judge.features(without.fidelity).items()
    )
    by = judge.Calibration(
        features, judge.odds(0.8), 1.0, 1.0, 200, 13, 0.91, 0.93, (8, 8), (4, 4), 1024, judge.VERSION, 40, 0.9
    )
    monkeypatch.setattr(judge, "calibration", lambda: by)
    told = play().prediction
    assert (told.reason, told.relative_accuracy, told.images) == (None, pytest.approx(0.8, abs=1e-3), 2304)
    assert told.low < 0.8 < told.high


def test_a_student_of_a_training_that_was_stopped_or_diverged_is_not_complete(tiny) -> None:
    diary = Diary()
    diary.stop_after = 2
    with pytest.raises(Stopped) as stopped:
        distill(tiny.classifier(8), tiny.classifier(4), tiny.config(), diary, generator=tiny.generator())
    assert diary.complete is False
    assert _same(diary.student, _state(stopped.value.result.student))
    config, diary = tiny.config(method={"name": "dfad"}), Diary()
    student = _Poisoned(tiny.classifier(4, bn=False), config.training.student_steps + 3)
    with pytest.raises(DivergedError):
        distill(tiny.classifier(8), student, config, diary, generator=tiny.generator())
    assert diary.complete is False
    diary, lost = Diary(), _Poisoned(tiny.classifier(4, bn=False), 1)
    with pytest.raises(DivergedError):
        distill(tiny.classifier(8), lost, config, diary, generator=tiny.generator())
    assert diary.complete is None, "nothing was trained"


def test_the_result_says_on_how_few_images_costly_networks_were_compared(tiny, monkeypatch) -> None:
    from dfad_core.networks.cost import Cost
    from dfad_core.training import run_state

    monkeypatch.setattr(run_state, "cost", lambda *_: Cost(11_000_000, 44_000_000, 1_820_000_000))
    witness = Witness()
    result = distill(
        tiny.classifier(8), tiny.classifier(4), tiny.config(), witness, generator=tiny.generator()
    )
    assert result.evaluation["images"] == 64
    assert result.evaluation["measured"] == judge_images(64)
    assert result.evaluation["complete"]
    assert result.prediction.images == sum(judge_images(64).values())


def test_a_methods_own_pool_keeps_to_the_limit_and_says_so(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny.config(method={"name": "fast"}, steps=3, inner_steps=1, student_steps=1, pool_batches=None)
    monkeypatch.setattr("dfad_core.contract.config.MAX_POOL_BYTES", 2 * config.pool_batch_bytes)
    result = distill(tiny.classifier(8), tiny.classifier(4, seed=1), config)
    (event,) = [e for e in result.events if e["kind"] == "pool_bounded"]
    assert event["batches"] == 2


@pytest.mark.parametrize("method", ["fast", "cmi", "deepinversion"])
def test_after_a_search_only_fitted_images_are_looked_at(tiny, method: str) -> None:
    """Recalibration and held-out images: what a generator makes of new noise was never fitted."""
    shown: list[torch.Tensor] = []

    class Evaluation(Hooks):
        def phase(self, name: str) -> None:
            if name == "evaluating":
                shown.clear()

    generator = tiny.generator()
    generator.register_forward_hook(lambda *_: shown.append(torch.zeros(1)))
    config = tiny.config(method={"name": method}, steps=2, inner_steps=2, student_steps=2)
    result = distill(
        tiny.classifier(8), tiny.classifier(4, seed=1), config, Evaluation(), generator=generator
    )
    assert shown == []
    assert "agreement_drawn" in result.fidelity
    assert result.synthetic_BCHW is not None
