"""How much evaluation a job affords: by cost and not by the clock, so that the same job measures the same.

One pass of a network over an image costs its multiply-accumulates; a pass back to the inputs counts two.
Torch-free.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

Shape = tuple[int, int, int]

SOURCES = 4
"""Of images, at most."""
LEAST_IMAGES, MOST_IMAGES = 64, 1024
HELD_OUT, HELD_OUT_LEAST, HELD_OUT_NUMBERS = 256, 64, 16 * 2**20
"""Images to count classes and check formats on: at most, at least, and as many as make so many numbers."""
MOST_TIMED = 64
"""Images of a pass that is timed."""
IMAGES_OF_A_PATH, LEAST_PATHS = 16, 8
"""One image in so many is moved between classes, and how many at least."""
PATH_STEPS = 10
FREE_MACS = 2**40
"""What evaluation may cost whatever the training cost: about half a minute of two processor cores."""
SHARE = 0.1
"""Of the training's cost and time that evaluation may take where that is more."""
LEAST_SECONDS = 60.0
"""Evaluation is given this long at least before the clock ends it."""
BATCH_NUMBERS = 2**20
"""Numbers in a batch of images, at most: one call is done within seconds and fits the memory."""
LEAST_BATCH = 8
"""Images a batch, at least: a generator's batch norm needs several."""
PASS_MACS = 2**37
"""Of one pass that is timed, at most."""
SEEN_MACS, LEAST_SEEN = 2**39, 16
"""What counting classes and checking a format may cost, each, and how many images they see at least."""
TIMED_PASSES = 4
"""Of each batch size, about."""


def batch_size(shape: Shape, most: int) -> int:
    """Images (C, H, W) that are worked on in one call: `most`, fewer where they are large."""
    return min(most, max(LEAST_BATCH, BATCH_NUMBERS // math.prod(shape) // LEAST_BATCH * LEAST_BATCH))


def held_out_count(shape: Shape) -> int:
    """How many images `suite.held_out_images` gives."""
    return min(HELD_OUT, max(HELD_OUT_LEAST, HELD_OUT_NUMBERS // math.prod(shape)))


def latency_batch(macs: int, most: int) -> int:
    """Images of one timed pass: `most`, halved until a pass of a network of so many `macs` takes seconds."""
    while most > 1 and most * macs > PASS_MACS:
        most //= 2
    return most


def images_within(macs: int, most: int) -> int:
    """Of `most` images, so many that showing them costs little; some in any case. `macs`: of one of them."""
    return min(most, max(LEAST_SEEN, SEEN_MACS // max(1, macs)))


def round_macs(
    teacher_macs: int, student_macs: int, *, batch: int, inner_steps: int, student_steps: int
) -> int:
    """Of one round of training, the generator's own left out.

    Each inner step goes through both networks there and back, the teacher labels what came of it, and the
    student learns `student_steps` times.
    """
    teacher = teacher_macs * (3 * inner_steps + 1)
    return batch * (teacher + 3 * student_macs * (inner_steps + student_steps))


@dataclass(frozen=True)
class Plan:
    """What is to be measured."""

    images: int
    """Of each source."""
    path_images: int
    """Of these, how many are moved between classes."""
    macs: int
    """Of all sources together."""

    def passes(self, sources: int) -> int:
        """Images that both networks are shown, each counted again where it has been moved."""
        return sources * (self.images + self.path_images * PATH_STEPS)


@dataclass(frozen=True)
class EvaluationBudget:
    """From what two networks cost to what is measured of them, and how long that may take."""

    shape: Shape
    teacher_macs: int
    student_macs: int
    """Both for one input."""
    round_macs: int
    """Of one round of their training."""

    def plan(self, rounds: int) -> Plan:
        """After so many rounds: as many images as fit into `FREE_MACS` or into a share of the training's."""
        allowed = max(FREE_MACS, int(SHARE * self.round_macs * rounds))
        fit = int(allowed / (SOURCES * max(1.0, self._pass + self._path / IMAGES_OF_A_PATH)))
        images = min(MOST_IMAGES, max(LEAST_IMAGES, fit // IMAGES_OF_A_PATH * IMAGES_OF_A_PATH))
        paths = max(LEAST_PATHS, images // IMAGES_OF_A_PATH)
        return Plan(images, paths, SOURCES * (images * self._pass + paths * self._path))

    @property
    def _pass(self) -> int:
        return self.teacher_macs + self.student_macs

    @property
    def _path(self) -> int:
        """Of one image: each step goes through the student there and back, and once more through both."""
        return PATH_STEPS * (3 * self.student_macs + self._pass)

    def fidelity_seconds(self, rounds: int, seconds_a_round: float) -> float:
        """About how long the plan takes on the machine on which a round took `seconds_a_round`."""
        share = self.plan(rounds).macs / max(1, self.round_macs)
        return min(share * seconds_a_round, bound_seconds(rounds * seconds_a_round))

    def other_seconds(self, seconds_a_round: float) -> float:
        """The same of what is measured besides: both networks' times, and which classes the teacher sees."""
        networks = (self.teacher_macs, self.student_macs)
        most = batch_size(self.shape, MOST_TIMED)
        timed = sum(TIMED_PASSES * macs * (1 + latency_batch(macs, most)) for macs in networks)
        seen = self.teacher_macs * images_within(self.teacher_macs, held_out_count(self.shape))
        return (timed + seen) / max(1, self.round_macs) * seconds_a_round

    def expected_seconds(self, rounds: int, seconds_a_round: float) -> float:
        """Of all that is evaluated."""
        return self.fidelity_seconds(rounds, seconds_a_round) + self.other_seconds(seconds_a_round)


def bound_seconds(training_seconds: float) -> float:
    """When the clock ends an evaluation that takes longer than its cost made expect."""
    return max(LEAST_SECONDS, SHARE * training_seconds)
