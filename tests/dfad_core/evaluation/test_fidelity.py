import math
from typing import Any

import pytest
import torch
from torch import nn

from dfad_core.contract.errors import Stopped
from dfad_core.contract.evaluation_plan import SHARES, Plan
from dfad_core.evaluation.diversity import class_entropy_of, sample_distance
from dfad_core.evaluation.fidelity import Fidelity, compared, measure_fidelity
from dfad_core.evaluation.signals import signals
from dfad_core.hooks import Hooks, Pace
from dfad_core.networks import build_classifier
from dfad_core.networks.pixel_range import standardised

SHAPE = (1, 8, 8)


def measured(teacher: nn.Module, student: nn.Module, **options: Any) -> Fidelity:
    options = {"num_images": 64, **options}
    return measure_fidelity(teacher, student, shape=SHAPE, pixels=standardised(1), **options)


def test_a_network_agrees_with_itself(tiny) -> None:
    net = tiny.classifier(4)
    found = measured(net, net).figures
    for source in SHARES:
        for name in ("agreement", "balanced_agreement", "sure_agreement", "correlation", "nuclear_norm"):
            assert found[f"{name}_{source}"] == pytest.approx(1), name
        for name in ("divergence", "gap", "confidence_gap"):
            assert found[f"{name}_{source}"] == pytest.approx(0, abs=1e-6), name


def test_signals_by_hand() -> None:
    teacher = torch.tensor([[4.0, 0.0], [2.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    student = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    found = signals(teacher, student)
    assert found["agreement"] == 0.75
    assert found["balanced_agreement"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["sure_agreement"] == pytest.approx((4 + 2 + 1) / (4 + 2 + 2 + 1))
    # Half the differences of the two logits: 2, 1, 1, -0.5 and 0.5, -0.5, 0.5, -0.5.
    assert found["correlation"] == pytest.approx(1.25 / math.sqrt(6.25 * 1.0))
    assert found["gap"] == pytest.approx(math.sqrt((1.5**2 + 1.5**2 + 0.5**2) / 6.25))
    assert found["teacher_margin"] == pytest.approx(9 / 4)
    sure = [1 / (1 + math.exp(-m)) for m in (4, 2, 2, 1)]
    assert found["teacher_confidence"] == pytest.approx(sum(sure) / 4)
    assert found["confidence_gap"] == pytest.approx(1 / (1 + math.exp(-1)) - sum(sure) / 4)
    assert found["class_entropy"] == pytest.approx(class_entropy_of(teacher))
    assert 0 < found["nuclear_norm"] < 1
    assert all(math.isfinite(v) for v in signals(torch.zeros(3, 2), torch.zeros(3, 2)).values())


def test_modes_are_kept_and_the_same_is_measured_again(tiny) -> None:
    teacher, student = tiny.classifier(4).eval(), tiny.classifier(4, seed=1).train()
    first = measured(teacher, student)
    assert first.figures == measured(teacher, student).figures
    assert compared(student.eval(), first.sets) == first.figures
    student.train()
    measured(teacher, student)
    assert student.training
    assert not teacher.training


def test_diversity_by_hand() -> None:
    assert class_entropy_of(torch.eye(4)) == pytest.approx(1)
    assert class_entropy_of(torch.eye(4)[[0, 0, 0, 0]]) == 0
    assert class_entropy_of(torch.eye(4)[[0, 0, 1, 1]]) == pytest.approx(0.5)
    assert class_entropy_of(torch.eye(100)[:2]) == pytest.approx(1)  # two images show at most two classes
    images = torch.stack([torch.zeros(1, 4, 4), 3 * torch.ones(1, 4, 4)])
    assert sample_distance(images) == pytest.approx(3)
    assert sample_distance(images[:1].expand(5, -1, -1, -1)) == 0


class Clock:
    """Each look takes a while."""

    def __init__(self, seconds: float) -> None:
        self.now, self.seconds = 0.0, seconds

    def __call__(self) -> float:
        self.now += self.seconds
        return self.now


def test_once_the_time_is_over_there_are_no_figures(tiny) -> None:
    teacher, student = tiny.classifier(4), tiny.classifier(4, seed=1)
    whole = measured(teacher, student, pace=Pace(Hooks(), "evaluating"))
    assert whole.complete
    late = measured(teacher, student, pace=Pace(Hooks(), "evaluating", bound_seconds=6, clock=Clock(1.0)))
    assert (late.figures, late.sets, late.complete) == ({}, {}, False)
    assert teacher.training


def test_every_image_is_counted_as_it_was_planned(tiny) -> None:
    class Counting(Pace):
        passes = 0

        def __call__(self, done: int = 0) -> None:
            self.passes += done

    pace = Counting(Hooks(), "evaluating")
    measured(tiny.classifier(4), tiny.classifier(4), pace=pace)
    assert pace.passes == Plan(64, 0).passes


def test_a_stop_leaves_the_networks_as_they_were(tiny) -> None:
    class Stopping(Hooks):
        def should_stop(self) -> str | None:
            return "cancel"

    teacher, student = tiny.classifier(4).eval(), tiny.classifier(4, seed=1).train()
    with pytest.raises(Stopped):
        measured(teacher, student, pace=Pace(Stopping(), "evaluating"))
    assert (teacher.training, student.training) == (False, True)


def test_large_networks_look_at_fewer_images_at_once_and_measure_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    teacher, student = (
        build_classifier("cnn8", num_classes=4, input_shape=SHAPE, args={"width": width}).eval()
        for width in (8, 4)
    )
    sizes: dict[tuple[str, bool], list[int]] = {}

    def note(role: str, images_BCHW: torch.Tensor) -> None:
        sizes.setdefault((role, images_BCHW.requires_grad), []).append(len(images_BCHW))

    for role, network in (("teacher", teacher), ("student", student)):
        network.register_forward_pre_hook(lambda _module, inputs, role=role: note(role, inputs[0]))
    whole = measured(teacher, student)
    assert max(sizes["student", False]) == 64
    assert (max(sizes["teacher", False]), max(sizes["teacher", True])) == (128, 16)
    sizes.clear()
    monkeypatch.setattr("dfad_core.contract.limits.EVALUATION_BYTES", 100_000)
    parts = measured(teacher, student)
    assert max(max(seen) for seen in sizes.values()) < 16
    assert parts.figures == pytest.approx(whole.figures, rel=0.01, abs=0.01)
