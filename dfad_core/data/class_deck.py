"""Which classes a batch of requested images shows: dealt from shuffled decks, so that none is left out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_STREAM = 6
"""Number of the decks' random stream, next to those of `dfad_core.data.random_streams`."""


class ClassDeck:
    """Deals class numbers over the rounds and processes of a job.

    A deck holds every class once, in an order of its own. Each deal goes on where the last one ended, and the
    `ranks` processes of a job take their slices of one deal in turn: at any time the counts of two classes,
    summed over all processes, differ by at most 1.
    """

    def __init__(self, num_classes: int, seed: int, rank: int = 0, ranks: int = 1) -> None:
        self.num_classes = num_classes
        self._seed, self._rank, self._ranks = seed, rank, ranks
        self._position = 0

    def deal(self, count: int) -> NDArray[np.int64]:
        """This process's next `count` classes, as int64; every process deals as many at the same time."""
        first = self._position + self._rank * count
        self._position += self._ranks * count
        decks = range(first // self.num_classes, -(-(first + count) // self.num_classes))
        cards = np.concatenate([self._shuffled(deck) for deck in decks])
        offset = first % self.num_classes
        return cards[offset : offset + count]

    def _shuffled(self, deck: int) -> NDArray[np.int64]:
        """The order of deck number `deck`, a function of the job's seed alone."""
        order = np.random.default_rng([self._seed, _STREAM, deck]).permutation(self.num_classes)
        return order.astype(np.int64)

    def state_dict(self) -> dict[str, int]:
        """How many classes were dealt."""
        return {"position": self._position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Load what `state_dict` returned."""
        self._position = state["position"]


def largest_count(batch: int, num_classes: int) -> int:
    """How often one class can occur in a deal of `batch` classes: it may lie in the decks at both ends."""
    return min(batch, max(batch - 2, 0) // num_classes + 2)
