"""Verdict on whether a student is usable at all, as far as synthetic images show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LARGEST_SHARE = 0.95
"""Share of images in one class from which a student is unusable: it has learned this class alone."""
FEWEST_IMAGES = 32
"""Fewest images that allow a verdict."""


@dataclass(frozen=True)
class Usability:
    """The verdict, and the figure that it rests on."""

    usable: bool
    share: float
    """Share of the most frequent class among the synthetic images, 0 to 1; 0 where there are too few."""
    reason: str | None = None
    """One or two sentences for the user; None where the student is usable."""


def usability(class_counts: Sequence[int] | None) -> Usability:
    """Verdict by `class_counts`: the number of synthetic images that the teacher assigns to each class.

    A teacher that gives nearly all of them one class recognises nothing in them, and a student agrees with it
    by always answering that class. Without counts, or with too few images, the student counts as usable.
    """
    total = sum(class_counts or ())
    if not class_counts or total < FEWEST_IMAGES:
        return Usability(usable=True, share=0.0)
    largest = max(range(len(class_counts)), key=class_counts.__getitem__)
    share = class_counts[largest] / total
    if share < LARGEST_SHARE:
        return Usability(usable=True, share=share)
    reason = (
        f"The teacher gives class {largest} to {100 * share:.1f} % of the synthetic images. Most likely it "
        "was trained on images of another range. Set the input's mean and std to those that its images "
        "were normalised by."
    )
    return Usability(usable=False, share=share, reason=reason)
