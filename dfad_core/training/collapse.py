"""Detection of a generator that makes only a few kinds of samples."""

from __future__ import annotations

LOW_ENTROPY, GOOD_ENTROPY = 0.35, 0.5
"""Class entropy, as a share of the largest possible one: a collapse is suspected below the first and has
ended above the second."""
LOW_DISTANCE, GOOD_DISTANCE = 0.1, 0.2
"""The same for the mean distance of two samples; it is 1.4 for independent images of unit variance."""
PATIENCE = 3
"""Number of successive reports that must agree: the first rounds of a run are uneven."""


class CollapseWatch:
    """Reports each change once. Between the two thresholds of a figure the state does not change."""

    def __init__(self) -> None:
        self.suspected = False
        self._streak = 0

    def look(self, class_entropy: float, sample_distance: float) -> str | None:
        """`collapse_suspected` or `collapse_recovered` when the state changes, else None."""
        if self.suspected:
            changed = class_entropy > GOOD_ENTROPY and sample_distance > GOOD_DISTANCE
        else:
            changed = class_entropy < LOW_ENTROPY or sample_distance < LOW_DISTANCE
        self._streak = self._streak + 1 if changed else 0
        if self._streak < PATIENCE:
            return None
        self._streak = 0
        self.suspected = not self.suspected
        return "collapse_suspected" if self.suspected else "collapse_recovered"

    def state_dict(self) -> dict[str, int]:
        """The state, and the number of reports in a row that speak against it."""
        return {"suspected": int(self.suspected), "streak": self._streak}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Load what `state_dict` returned."""
        self.suspected, self._streak = bool(state["suspected"]), state["streak"]
