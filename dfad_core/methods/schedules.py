"""Learning rates as a factor of the peak, by the spent fraction of the budget."""

import math

WARM_UP = 0.03
"""Share of the budget in which the student's rate climbs to its peak."""
GENERATOR_HOLD = 0.5
"""Share of the budget after which the generator's rate begins to fall."""
GENERATOR_END = 0.1
"""The generator's last rate as a share of its first. Above 0, so that it learns until the end."""


def student_rate(fraction: float) -> float:
    """Linear warm-up from a tenth, then a half cosine down to 0."""
    if fraction < WARM_UP:
        return 0.1 + 0.9 * fraction / WARM_UP
    return _half_cosine((fraction - WARM_UP) / (1 - WARM_UP))


def generator_rate(fraction: float) -> float:
    """Constant, then a half cosine down to `GENERATOR_END`."""
    if fraction < GENERATOR_HOLD:
        return 1.0
    return GENERATOR_END + (1 - GENERATOR_END) * _half_cosine(
        (fraction - GENERATOR_HOLD) / (1 - GENERATOR_HOLD)
    )


def _half_cosine(x: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * min(max(x, 0.0), 1.0)))
