"""Requested classes of the images of a search, dealt from shuffled decks so that all are equally frequent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_STREAM = 6
"""Number of the decks' random stream, next to those of `dfad_core.data.random_streams`."""


class ClassDeck:
    """Deals classes over the rounds and processes of a job.

    A deck holds every class once, in random order. Each deal continues where the last one ended, and the
    `ranks` processes of a job share one deal, slice by slice. At any time the counts of two classes, summed
    over all processes, differ by at most 1.
    """

    def __init__(self, num_classes: int, seed: int, rank: int = 0, ranks: int = 1) -> None:
        self.num_classes = num_classes
        self._seed, self._rank, self._ranks = seed, rank, ranks
        self._position = 0

    def deal(self, count: int) -> NDArray[np.int64]:
        """This process's next `count` classes (int64); every process must call with the same `count`."""
        first = self._position + self._rank * count
        self._position += self._ranks * count
        decks = range(first // self.num_classes, -(-(first + count) // self.num_classes))
        classes = np.concatenate([self._order(deck) for deck in decks])
        offset = first % self.num_classes
        return classes[offset : offset + count]

    def _order(self, deck: int) -> NDArray[np.int64]:
        """The order of deck number `deck`, a function of the job's seed alone."""
        order = np.random.default_rng([self._seed, _STREAM, deck]).permutation(self.num_classes)
        return order.astype(np.int64)

    def state_dict(self) -> dict[str, int]:
        """Number of classes dealt so far."""
        return {"position": self._position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Load what `state_dict` returned."""
        self._position = state["position"]


def largest_count(batch: int, num_classes: int) -> int:
    """Largest number of times that one class can occur in a deal of `batch` classes, which may start and end
    inside a deck."""
    return min(batch, max(batch - 2, 0) // num_classes + 2)


def nearest_order(scores_BK: NDArray[np.float32], dealt_B: NDArray[np.int64]) -> NDArray[np.int64]:
    """The dealt classes (B,) in another order: image by image, the largest score that is left goes first."""
    dealt_D, wanted_D = np.unique(dealt_B, return_counts=True)  # of many classes only those that were dealt
    order_B = np.full(len(dealt_B), -1, dtype=np.int64)
    for place in np.argsort(-scores_BK[:, dealt_D], axis=None, kind="stable"):
        image, column = divmod(int(place), len(dealt_D))
        if order_B[image] < 0 and wanted_D[column] > 0:
            order_B[image] = dealt_D[column]
            wanted_D[column] -= 1
            if not wanted_D.any():
                break
    return order_B
