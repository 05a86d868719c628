"""Whether a student can be of use at all, as far as that shows without data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LARGEST_SHARE = 0.95
"""Of the images in one class. From here on the teacher has shown the student next to nothing else."""
FEWEST_IMAGES = 32
"""Of which a share is taken."""


@dataclass(frozen=True)
class Usability:
    """The verdict, and the figure that it rests on."""

    usable: bool
    share: float
    """Of the most frequent class among the synthetic images, 0 to 1; 0 where too few were seen."""
    reason: str | None = None
    """One or two sentences for the user; None where the student is usable."""


def usability(class_counts: Sequence[int] | None) -> Usability:
    """By how often the teacher gave each class to synthetic images (`class_counts`, one count a class).

    A teacher that gives nearly all of them one class did not recognise anything: a student agrees with it by
    that class alone. Usable where nothing was counted, or too few images.
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
