"""Figures without data that correlate with true accuracy, by the committed calibration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("proof.json")
THRESHOLD = 0.8
"""Least rank correlation with true accuracy, on every data set of the calibration."""

FALLING = ("divergence", "logit_gap", "calibration_error", "transition_error", "bn_distance")
"""Figures that fall where accuracy rises; all others rise with it."""


def expected_sign(signal: str) -> int:
    """Sign of the correlation with accuracy: -1 for figures that are small in a good student, else 1."""
    return -1 if signal.startswith(FALLING) else 1


@cache
def correlations() -> Mapping[str, Mapping[str, float]]:
    """Spearman's rank correlation with true accuracy, by signal and data set.

    `python -m benchmarks.fidelity_calibration --write` writes the file.
    """
    content: dict[str, dict[str, float]] = json.loads(FILE.read_text(encoding="utf-8"))["correlations"]
    return content


def proven(
    measured: Mapping[str, Mapping[str, float]] | None = None,
) -> dict[str, dict[str, float]]:
    """The signals whose correlation has the expected sign and is strong enough on every data set."""
    measured = correlations() if measured is None else measured
    return {
        signal: dict(by_data)
        for signal, by_data in measured.items()
        if by_data and all(expected_sign(signal) * rho >= THRESHOLD for rho in by_data.values())
    }
