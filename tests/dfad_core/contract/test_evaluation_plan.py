"""How much is evaluated follows from cost: of small networks as much as ever, of large ones a little."""

from __future__ import annotations

import pytest

from dfad_core.contract import evaluation_plan as plan
from dfad_core.contract.evaluation_plan import (
    EvaluationBudget,
    batch_size,
    images_within,
    latency_batch,
    round_macs,
)

SMALL = [(10_000, 3_000), (420_000, 120_000), (41_000_000, 20_000_000)]
"""MACs of teacher and student: a perceptron on 8x8, LeNet-5 on 28x28, ResNet-20 on 32x32."""
RESNET18_AT_224 = (1_820_000_000, 500_000_000)


def budget(teacher: int, student: int, batch: int = 8, side: int = 224) -> EvaluationBudget:
    macs = round_macs(teacher, student, batch=batch, inner_steps=1, student_steps=5)
    return EvaluationBudget((3, side, side), teacher, student, macs)


@pytest.mark.parametrize("macs", SMALL)
@pytest.mark.parametrize("rounds", [1, 2000])
def test_small_networks_are_shown_as_many_images_as_ever(macs: tuple[int, int], rounds: int) -> None:
    assert budget(*macs, side=32).plan(rounds).images == 1024


def test_a_large_input_is_shown_few_images_after_a_short_training_and_more_after_a_long_one() -> None:
    short, long = (budget(*RESNET18_AT_224).plan(rounds) for rounds in (10, 100_000))
    most = plan.most_images(3 * 224 * 224)
    assert (short.images, long.images) == (64, most)
    between = budget(*RESNET18_AT_224).plan(200)
    assert 64 < between.images < most
    assert between.images % plan.MULTIPLE == 0
    assert between.macs <= plan.SHARE * 200 * budget(*RESNET18_AT_224).round_macs


def test_large_images_are_fewer_so_that_they_stay_in_memory() -> None:
    assert plan.most_images(3 * 32 * 32) == plan.most_images(3 * 100 * 100) == 1024
    assert plan.most_images(3 * 224 * 224) == 208
    assert plan.most_images(3 * 512 * 512) == plan.LEAST_IMAGES
    kept = plan.kept_images(3 * 224 * 224)
    assert kept == 2 * 208 + sum(plan.judge_images(208).values()) == 4.25 * 208


def test_passes_count_the_teachers_and_the_students() -> None:
    teacher = 2 * 64 + 32 + 16 * (10 + 1)
    assert budget(*RESNET18_AT_224).plan(10).passes == teacher + 64 + 32 + 32 + 16
    assert plan.judge_images(64) == {"drawn": 64, "chosen": 32, "mixed": 32, "approached": 16}


def test_the_time_that_is_expected_is_bounded_as_the_evaluation_is() -> None:
    one = budget(*RESNET18_AT_224)
    assert one.fidelity_seconds(10, 1e-3) == pytest.approx(one.plan(10).macs / one.round_macs * 1e-3)
    assert one.fidelity_seconds(10, 8.0) == plan.bound_seconds(80.0) == plan.LEAST_SECONDS
    assert plan.bound_seconds(36_000.0) == 3600.0
    assert one.expected_seconds(10, 1.0) > one.fidelity_seconds(10, 1.0)


@pytest.mark.parametrize(
    ("shape", "images"),
    [((1, 8, 8), 256), ((1, 28, 28), 256), ((3, 32, 32), 256), ((3, 64, 64), 80), ((3, 224, 224), 8)],
)
def test_a_call_works_on_fewer_images_where_they_are_large(shape: tuple[int, int, int], images: int) -> None:
    assert batch_size(shape, 256) == images
    assert batch_size(shape, 1) == 1


def test_a_pass_that_is_timed_takes_no_minutes() -> None:
    assert latency_batch(0, 64) == latency_batch(1_160_000_000, 64) == 64
    assert latency_batch(27_000_000_000, 64) == 4
    assert latency_batch(10**12, 64) == 1


def test_what_is_only_looked_at_is_bounded_too() -> None:
    assert images_within(1_820_000_000, 256) == 256
    assert images_within(27_000_000_000, 256) == 20
    assert images_within(10**12, 256) == 16
    assert images_within(10**12, 5) == 5
