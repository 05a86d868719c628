"""Guards: what a job is said to cost before it is queued, with and without an inspected teacher."""

from __future__ import annotations

from app.jobs.estimate import estimate
from app.jobs.schemas import JobSpec

INSPECTION = {
    "bytes": 1_000_000,
    "input": {"shape": [3, 32, 32]},
    "timing": {"images": 16, "threads": 1, "forward_milliseconds": 10.0, "backward_milliseconds": 30.0},
}


def test_an_inspected_teacher_tells_its_time_and_its_memory() -> None:
    spec = JobSpec.model_validate(
        {
            "student": {"architecture": "resnet8"},
            "budget": {"steps": 100},
            "training": {"batch_size": 32, "inner_steps": 2, "pool_batches": 0},
        }
    )
    before, after = estimate(spec), estimate(spec, INSPECTION)
    assert (before.teacher_seconds, before.memory_bytes) == (None, None)
    # 100 rounds, in each two passes there and back and one there, of two times 16 images.
    assert after.teacher_seconds == 100 * (2 * 40 + 10) * 2 / 1000
    assert after.memory_bytes is not None
    assert after.memory_bytes > 1_000_000
