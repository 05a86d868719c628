"""How far a job is: one rule for the engine's lines, the job's events and the job itself."""

import pytest

from dfad_core.contract.progress import Progress, phase_percent, running_percent, training_percent


@pytest.mark.parametrize(
    ("step", "total", "fraction", "expected"),
    [
        (500, 1000, 0.2, 50.0),  # a budget in seconds whose bound on steps is reached first
        (200, 1000, 0.5, 50.0),  # the clock is reached first
        (0, 0, 0.0, 0.0),
        (5, 5, 0.0, 100.0),
        (6, 5, 1.2, 100.0),
        (1, 3, 0.0, 33.33),
    ],
)
def test_the_larger_share_counts(step, total, fraction, expected):
    assert training_percent(step, total, fraction) == expected
    report = Progress(step, total, 20.0, None, fraction=fraction)
    assert report.training_percent == expected
    assert report.percent == min(99.0, expected)


def test_a_job_that_goes_on_is_never_complete():
    assert (running_percent(100.0), running_percent(12.5)) == (99.0, 12.5)
    assert (phase_percent(1, 8), phase_percent(0, 0)) == (12.5, 0.0)
