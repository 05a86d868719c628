"""Amount of evaluation for a job. It depends on cost, not on the clock, so that equal jobs measure the same.

The cost of one pass of a network over an image is its multiply-accumulates; a pass back to the inputs counts
twice that. Torch-free.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

Shape = tuple[int, int, int]

LEAST_IMAGES, MOST_IMAGES = 64, 1024
"""Bounds of the number of the judge's plain drawings."""
DRAWN_FOR_EACH = 2
"""Drawings from which the judge's images are chosen, for each plain one."""
APPROACH_STEPS = 10
"""Gradient steps of the judge's images towards a class of the teacher."""
SHARES = {"drawn": 1, "chosen": 2, "mixed": 2, "approached": 4}
"""Sources of the judge's images: the number of plain drawings divided by that of the source."""
MOST_NUMBERS = 2**26
"""Most pixel values of the drawings, which are kept in memory: fewer images where they are large."""
MULTIPLE = 16
"""The number of plain drawings is a multiple of this."""
HELD_OUT, HELD_OUT_LEAST, HELD_OUT_NUMBERS = 256, 64, 16 * 2**20
"""Number of images for counting classes and checking formats: HELD_OUT, fewer where they have more than
HELD_OUT_NUMBERS pixel values, and at least HELD_OUT_LEAST."""
MOST_TIMED = 64
"""Largest number of images in a timed pass."""
TIMED_BATCHES = (1, MOST_TIMED)
"""Batch sizes of timed passes; the larger one shrinks for large images and large networks."""
FREE_MACS = 2**40
"""Cost that evaluation may always have, even after a short training: half a minute of two processor cores."""
SHARE = 0.1
"""Share of the training's cost and time that evaluation may take where that is more than `FREE_MACS`."""
LEAST_SECONDS = 60.0
"""Least time before the clock ends an evaluation."""
BATCH_NUMBERS = 2**20
"""Most pixel values in a batch: one call ends within seconds and fits the memory."""
LEAST_BATCH = 8
"""Least number of images in a batch: a generator's batch norm needs several."""
PASS_MACS = 2**37
"""Largest cost of one timed pass."""
CHECK_MACS, LEAST_CHECKED = 2**39, 16
"""Largest cost of counting classes or checking a format, and the least number of images for each."""
TIMED_PASSES = 4
"""Expected number of timed passes for each batch size."""


def batch_size(shape: Shape, most: int) -> int:
    """Number of images (C, H, W) in a batch: `most`, fewer where they are large."""
    return min(most, max(LEAST_BATCH, BATCH_NUMBERS // math.prod(shape) // LEAST_BATCH * LEAST_BATCH))


def held_out_count(shape: Shape) -> int:
    """Number of images from `held_out.held_out_images`."""
    return min(HELD_OUT, max(HELD_OUT_LEAST, HELD_OUT_NUMBERS // math.prod(shape)))


def latency_batch(macs: int, most: int) -> int:
    """Number of images in a timed pass: `most`, halved until the pass costs at most `PASS_MACS`."""
    while most > 1 and most * macs > PASS_MACS:
        most //= 2
    return most


def images_within(macs: int, most: int) -> int:
    """Number of images, up to `most`, within a cost of `CHECK_MACS`; `macs` is the cost of one image."""
    return min(most, max(LEAST_CHECKED, CHECK_MACS // max(1, macs)))


def round_macs(
    teacher_macs: int,
    student_macs: int,
    *,
    batch: int,
    inner_steps: int,
    student_steps: int,
    labelled_views: int = 0,
    images_every: int = 1,
) -> int:
    """Multiply-accumulates of one round of training, without those of the generator; a mean over rounds.

    One round of `images_every` has new images: each inner step is a pass forward and back through both
    networks, and the teacher then labels the batch. In each round the student is updated `student_steps`
    times, and the teacher labels `labelled_views` batches for that.
    """
    images = (teacher_macs * (3 * inner_steps + 1) + 3 * student_macs * inner_steps) // images_every
    return batch * (images + teacher_macs * labelled_views + 3 * student_macs * student_steps)


def judge_images(num_images: int) -> dict[str, int]:
    """Number of images of each of the judge's sources, where `num_images` are plain drawings."""
    return {source: num_images // share for source, share in SHARES.items()}


def most_images(numbers: int) -> int:
    """Largest number of the judge's plain drawings, of so many pixel values each."""
    fit = MOST_NUMBERS // (DRAWN_FOR_EACH * numbers) // MULTIPLE * MULTIPLE
    return max(LEAST_IMAGES, min(MOST_IMAGES, fit))


def kept_images(numbers: int) -> int:
    """Largest number of images that the judge keeps in memory, of so many pixel values each."""
    count = most_images(numbers)
    return DRAWN_FOR_EACH * count + sum(judge_images(count).values())


@dataclass(frozen=True)
class Plan:
    """Amount of evaluation."""

    images: int
    """Number of the judge's plain drawings."""
    macs: int
    """Cost over all sources."""

    @property
    def passes(self) -> int:
        """Number of image passes; each gradient step of an image counts as one."""
        return self.images * DRAWN_FOR_EACH + sum(self.counts.values()) + self._nearer_passes

    @property
    def counts(self) -> dict[str, int]:
        """Number of images of each source."""
        return judge_images(self.images)

    @property
    def _nearer_passes(self) -> int:
        """Of the teacher, to make the sources that are not drawn, and to label them."""
        return self.counts["mixed"] + self.counts["approached"] * (APPROACH_STEPS + 1)


@dataclass(frozen=True)
class EvaluationBudget:
    """Evaluation plan and its duration, from the cost of the two networks."""

    shape: Shape
    teacher_macs: int
    student_macs: int
    """Cost of one input; `teacher_macs` likewise."""
    round_macs: int
    """Cost of one round of their training."""

    def plan(self, rounds: int) -> Plan:
        """Plan after so many rounds: as many images as fit into the cost limit."""
        allowed = max(FREE_MACS, int(SHARE * self.round_macs * rounds))
        fit = int(allowed / max(1.0, self._macs(MULTIPLE) / MULTIPLE)) // MULTIPLE * MULTIPLE
        images = max(LEAST_IMAGES, min(most_images(math.prod(self.shape)), fit))
        return Plan(images, self._macs(images))

    def _macs(self, images: int) -> int:
        """Cost of so many plain drawings and of what follows from them; a gradient costs two passes."""
        counts = judge_images(images)
        teacher = DRAWN_FOR_EACH * images + counts["mixed"] + counts["approached"] * (3 * APPROACH_STEPS + 1)
        return self.teacher_macs * teacher + self.student_macs * sum(counts.values())

    def fidelity_seconds(self, rounds: int, seconds_a_round: float) -> float:
        """Expected duration of the plan on a machine on which a round took `seconds_a_round`."""
        share = self.plan(rounds).macs / max(1, self.round_macs)
        return min(share * seconds_a_round, bound_seconds(rounds * seconds_a_round))

    def other_seconds(self, seconds_a_round: float) -> float:
        """Expected duration of the other measurements: latencies and the teacher's classes."""
        networks = (self.teacher_macs, self.student_macs)
        batch = latency_batch(max(networks), batch_size(self.shape, MOST_TIMED))
        timing = TIMED_PASSES * sum(networks) * (1 + batch)
        counting = self.teacher_macs * images_within(self.teacher_macs, held_out_count(self.shape))
        return (timing + counting) / max(1, self.round_macs) * seconds_a_round

    def expected_seconds(self, rounds: int, seconds_a_round: float) -> float:
        """Expected duration of the whole evaluation."""
        return self.fidelity_seconds(rounds, seconds_a_round) + self.other_seconds(seconds_a_round)


def bound_seconds(training_seconds: float) -> float:
    """Time after which the clock ends an evaluation that is slower than expected."""
    return max(LEAST_SECONDS, SHARE * training_seconds)
