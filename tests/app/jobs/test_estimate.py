"""Guards: what a job is said to cost before it is queued, with and without an inspected teacher."""

from __future__ import annotations

import pytest

from app.jobs.estimate import Estimate, check_memory, estimate
from app.jobs.schemas import JobSpec
from app.platform.errors import InvalidBody
from dfad_core.contract.inspection import Inspection
from dfad_core.contract.serialization import from_json

INSPECTION = {
    "bytes": 1_000_000,
    "input": {"shape": [3, 32, 32]},
    "timing": {"images": 16, "threads": 1, "forward_milliseconds": 10.0, "backward_milliseconds": 30.0},
}


def test_the_evaluation_is_a_part_of_what_a_job_takes() -> None:
    def seconds(student: dict[str, object], steps: int = 10, **more: object) -> float | None:
        spec = {"student": student, "budget": {"steps": steps}, "training": {"batch_size": 8}}
        inspection = from_json(Inspection, INSPECTION | more)
        return estimate(JobSpec.model_validate(spec), inspection).evaluation_seconds

    small = {"architecture": "resnet8", "args": {"width": 4}}
    offered = [{"architecture": "resnet8", "args": {"width": 4}, "macs": 1_000_000}]
    assert seconds(small) is None, "what the teacher costs is not known"
    assert seconds(small, macs=0) is None
    # 1,024 images of four sources and what else is measured, at 16 images in 10 ms.
    known = seconds(small, macs=10_000_000, students=offered)
    assert known is not None
    assert 2 < known < 10
    unknown = seconds({"architecture": "resnet20"}, macs=10_000_000, students=offered)
    assert unknown is not None
    assert unknown > known
    # A teacher of 5 s an image: the clock ends its evaluation after a minute, or a tenth of the training.
    slow = {"macs": 27 * 10**9, "timing": {**INSPECTION["timing"], "forward_milliseconds": 80_000.0}}
    short, long = (seconds(small, steps=steps, students=offered, **slow) for steps in (1, 1000))
    assert short is not None
    assert long is not None
    assert 60 < short < 400
    assert long > 1000


def test_an_inspected_teacher_tells_its_time_and_its_memory() -> None:
    spec = JobSpec.model_validate(
        {
            "student": {"architecture": "resnet8"},
            "budget": {"steps": 100},
            "training": {"batch_size": 32, "inner_steps": 2, "pool_batches": 0},
        }
    )
    inspected = from_json(Inspection, INSPECTION | {"input": {"shape": [1, 32, 32]}, "bn_statistics": True})
    before, after = estimate(spec), estimate(spec, inspected)
    assert (before.teacher_seconds, before.memory_bytes) == (None, None)
    # 100 rounds, in each two passes there and back and one there, of two times 16 images.
    assert after.teacher_seconds == 100 * (2 * 40 + 10) * 2 / 1000
    assert after.memory_bytes is not None
    assert after.memory_bytes > 1_000_000


def test_a_teacher_that_labels_every_view_takes_its_time_for_them() -> None:
    training = {"batch_size": 32, "student_steps": 4, "inner_steps": 2}
    spec = JobSpec.model_validate(
        {"student": {"architecture": "resnet8"}, "budget": {"steps": 100}, "training": training}
    )
    without_bn = from_json(Inspection, INSPECTION)
    # 100 rounds, new images in ten, four batches of views in each; of two times 16 images, no gradient.
    assert estimate(spec, without_bn).teacher_seconds == (10 + 100 * 4) * 10 * 2 / 1000
    assert estimate(spec, without_bn).generator_updates == 0


def test_what_a_network_keeps_for_gradients_is_a_part_of_the_memory() -> None:
    """A ResNet-18 at 224 pixels: 349 MB an image, which 0.19 GB was once estimated for."""
    memory = {"gradient_bytes": 349 * 10**6, "largest_bytes": 13 * 10**6}
    student = {"architecture": "resnet8", "args": {"width": 4}}
    offer = {**student, "bytes": 10**6, "memory": {"gradient_bytes": 10**6, "largest_bytes": 10**5}}
    shape = {"input": {"shape": [3, 224, 224]}, "bn_statistics": True}
    inspected = from_json(Inspection, INSPECTION | shape | {"memory": memory, "students": [offer]})

    def bytes_of(student: dict[str, object], **training: object) -> tuple[int, int]:
        spec = JobSpec.model_validate({"student": student, "training": training})
        found = estimate(spec, inspected)
        assert found.memory_bytes is not None
        assert found.least_memory_bytes is not None
        return found.memory_bytes, found.least_memory_bytes

    whole, least = bytes_of(student)
    assert 128 * 349e6 < whole < 1.5 * 128 * 349e6
    assert 8 * 349e6 < least < whole / 3
    assert bytes_of(student, accumulation=16)[0] == least
    assert bytes_of(student, batch_size=16)[0] < 16 * 349e6 * 2
    assert bytes_of({"architecture": "resnet20"}) == (whole, least), "the teacher needs more than an update"


def test_a_job_whose_smallest_slice_fits_no_worker_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from app.platform.settings import get_settings

    monkeypatch.setenv("DFAD_MAX_JOB_MEMORY_BYTES", str(2**30))
    get_settings.cache_clear()
    spec = JobSpec.model_validate({"student": {"architecture": "resnet8"}, "training": {"pool_batches": 1}})
    small, large = (
        from_json(Inspection, INSPECTION | {"bn_statistics": True, "memory": {"gradient_bytes": size}})
        for size in (10**8, 10**9)
    )
    check_memory(spec, small)
    with pytest.raises(InvalidBody) as caught:
        check_memory(spec, large)
    assert caught.value.code == "memory_limit"
    get_settings.cache_clear()


def test_steps_that_end_in_time() -> None:
    timing = {"images": 1, "threads": 1, "forward_milliseconds": 1000.0, "backward_milliseconds": 2000.0}
    inspected = from_json(Inspection, INSPECTION | {"macs": 10**9, "timing": timing})
    spec = {"student": {"architecture": "resnet20"}, "training": {"batch_size": 10, "student_steps": 2}}

    def found(**budget: float) -> Estimate:
        return estimate(JobSpec.model_validate(spec | {"budget": budget}), inspected)

    # Each step: 20 images in updates of three passes, 20 views, and a tenth of the new images.
    long = found(steps=1000, max_runtime_seconds=10_000)
    assert long.student_seconds == 1000 * 20 * 3
    assert long.teacher_seconds == 1000 * 20 + 100 * 10
    assert long.steps_in_time is not None
    assert 60 < long.steps_in_time < 100
    assert found(steps=10, max_runtime_seconds=10_000).steps_in_time == 10
    assert found(steps=10, max_runtime_seconds=60).steps_in_time == 0
