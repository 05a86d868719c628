"""How a job is cut to the memory there is, and what is refused because it cannot fit or end in time."""

import dataclasses

import pytest

from dfad_core.contract.errors import ConfigError
from dfad_core.contract.evaluation_plan import kept_images
from dfad_core.contract.limits import (
    DRAWING_COPIES,
    DRAWN_AT_ONCE,
    JobMemory,
    PassMemory,
    Schedule,
    check_memory,
    filled_batches,
    fitting_slices,
    images_at_once,
    job_memory,
)
from dfad_core.contract.methods import get_method

MIB = 2**20
JOB = JobMemory(image_bytes=1, batch_size=128, fixed_bytes=100 * MIB, slice_image_bytes=10 * MIB)


@pytest.mark.parametrize(
    ("free", "slices"), [(None, 1), (2000, 1), (1700, 2), (700, 4), (300, 16), (150, 16), (0, 16)]
)
def test_the_least_number_of_slices_that_fits(free: int | None, slices: int) -> None:
    assert fitting_slices(JOB, None if free is None else free * MIB) == slices


def test_small_batches_stay_whole() -> None:
    assert fitting_slices(dataclasses.replace(JOB, batch_size=12), 0) == 1


def test_drawings_and_labels_count_where_nothing_is_fitted() -> None:
    recipe = get_method("collages").recipe_for(teacher_has_bn=False, channels=3)
    part = PassMemory(1000, 100)
    job = job_memory(
        recipe, teacher=part, student=PassMemory(1, 1), teacher_bytes=0, student_bytes=0, pool_bytes=0,
        image_bytes=10**6, batch_size=100,
    )  # fmt: skip
    assert job.slice_image_bytes == 8 * 100, "labels: the teacher keeps nothing for a gradient"
    drawing = DRAWING_COPIES * DRAWN_AT_ONCE * 4
    assert job.peak_bytes() - job.fixed_bytes == 8 * 100 * 10**6 + drawing
    fitted = dataclasses.replace(recipe, inner_steps=2, adversarial_weight=1.0, contrast_weight=1.0)
    more = job_memory(
        fitted, teacher=part, student=PassMemory(50, 5), teacher_bytes=0, student_bytes=0, pool_bytes=0,
        image_bytes=10**6, batch_size=100,
    )  # fmt: skip
    assert more.slice_image_bytes == 2 * 1000 + 3 * 100 + 50 + 3 * 5


def _refusal(job: JobMemory, slices: int, free: int) -> str:
    with pytest.raises(ConfigError) as caught:
        check_memory(job, slices, free)
    assert (caught.value.code, caught.value.param) == ("memory_limit", "training")
    return caught.value.message


def test_what_does_not_fit_is_refused_with_what_would() -> None:
    check_memory(JOB, 1, None)
    check_memory(JOB, 16, 130 * MIB)  # 180 MiB: estimates err by half
    assert "`accumulation` of 8;" in _refusal(JOB, 1, 400 * MIB)
    assert "slices of 128 images" in _refusal(JOB, 1, 400 * MIB)
    wide = dataclasses.replace(JOB, image_bytes=MIB)
    assert "`batch_size` of 32 fits" in _refusal(wide, 16, 900 * MIB)
    assert "smaller student" in _refusal(JOB, 16, 100 * MIB)


def test_what_cannot_end_in_time_is_refused_with_what_could() -> None:
    job = Schedule(rounds=10, round_seconds=100, after=lambda rounds: 10 * rounds)
    job.check(800)  # times err by half
    with pytest.raises(ConfigError) as caught:
        job.check(500)
    assert (caught.value.code, caught.value.param) == ("deadline_too_short", "budget")
    assert "1,100 s" in caught.value.message
    assert "3 steps, or `train_seconds` of 300" in caught.value.message
    assert job.rounds_in_time(500) == 3
    assert job.rounds_in_time(10**6) == 10
    with pytest.raises(ConfigError) as caught:
        job.check(50)
    assert "In time" not in caught.value.message
    assert "1,375 s" in caught.value.message
    assert job.rounds_in_time(50) == 0


def test_a_short_job_does_not_fill_its_pool() -> None:
    recipe = get_method("collages").recipe_for(teacher_has_bn=True, channels=3)
    assert [filled_batches(recipe, 150, rounds) for rounds in (1, 20, 10**6)] == [17, 18, 150]
    assert filled_batches(get_method("mad").recipe_for(teacher_has_bn=True, channels=3), 50, 3) == 6


def test_passes_after_training_keep_to_a_bound() -> None:
    small, large, huge = (PassMemory(size, size // 8) for size in (1000, 50 * MIB, 1024 * MIB))
    assert images_at_once(small, 64) == images_at_once(small, 64, gradient=True) == 64
    assert images_at_once(large, 64) == 512 // 50
    assert images_at_once(large, 64, gradient=True) == 7
    assert images_at_once(huge, 64, gradient=True) == 1
    recipe = get_method("collages").recipe_for(teacher_has_bn=False, channels=3)
    whole = job_memory(
        recipe, teacher=small, student=large, teacher_bytes=0, student_bytes=0, pool_bytes=0, image_bytes=400,
        batch_size=2, value_bytes=2,
    )  # fmt: skip
    judged = 400 * kept_images(100)
    assert judged == 400 * (2 * 1024 + 1024 + 512 + 512 + 256)
    assert whole.evaluation_bytes == 512 * MIB + judged
    assert whole.peak_bytes() == whole.fixed_bytes + 512 * MIB + judged
