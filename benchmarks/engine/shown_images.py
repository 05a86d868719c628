"""What the student is trained on: number of images, of distinct ones, the teacher's answers; and the time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from dfad_core.data.batch import Batch
from dfad_core.hooks import Hooks
from dfad_core.training.profiling import Profile
from dfad_core.training.student_phase import StudentPhase

SAMPLED = 8
"""Places along each side of an image by which it is recognised."""
PARTS = {
    "teacher": ("teacher", "labelling teacher"),
    "student": ("student", "student step", "backward, student step"),
    "image_source": ("generator", "generator step", "extra batches", "choice of images", "views"),
    "backward_to_images": ("backward, generator step", "backward"),
    "optimizers": ("optimizer",),
}
"""Field of `time_shares` -> the regions of a profile.

`teacher` and `student` are forward passes wherever they happen, `student` with the backward passes of its own
updates. `backward_to_images` goes through teacher, student and generator in one pass, in the generator's
updates and in searches.
"""


class ShownImages:
    """Counts the images of the student's updates, with the teacher's answers.

    An image is recognised by the bytes of some of its pixels; an augmented one counts as another.
    """

    def __init__(self, num_classes: int) -> None:
        self.updates = 0
        """Student updates, or slices of them where the batch is sliced."""
        self.presentations = 0
        self._distinct: set[int] = set()
        self._classes_K = torch.zeros(num_classes, dtype=torch.long)
        self._confidence = 0.0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count every update of the block. Costs less than a thousandth of it."""
        plain = StudentPhase.loss

        def loss(phase: StudentPhase, batch: Batch, *arguments: Any) -> Tensor:
            self.count(batch)
            return plain(phase, batch, *arguments)

        with patch.object(StudentPhase, "loss", loss):
            yield

    def figures(self) -> dict[str, Any]:
        """The fields of a result line: `presentations`, `distinct_images`, `class_entropy` (of the teacher's
        classes over all presentations, 0 to 1, where 1 is even), `teacher_confidence` (mean over them)."""
        shares_K = self._classes_K.double() / max(1, self.presentations)
        entropy = float(torch.special.entr(shares_K).sum()) / math.log(len(shares_K))
        return {
            "presentations": self.presentations,
            "distinct_images": len(self._distinct),
            "class_entropy": round(entropy, 4),
            "teacher_confidence": round(self._confidence / max(1, self.presentations), 4),
        }

    @torch.no_grad()
    def count(self, batch: Batch) -> None:
        """Add the images of one update."""
        images_BCHW, logits_BK = batch.images_BCHW.cpu(), batch.teacher_logits_BK.float().cpu()
        self.updates += 1
        self.presentations += len(images_BCHW)
        height, width = images_BCHW.shape[2:]
        sampled_BP = images_BCHW[:, :, :: max(1, height // SAMPLED), :: max(1, width // SAMPLED)].flatten(1)
        self._distinct.update(
            hash(row.tobytes()) for row in sampled_BP.contiguous().view(torch.uint8).numpy()
        )
        confidence_B, class_B = logits_BK.softmax(1).max(1)
        self._confidence += float(confidence_B.sum())
        self._classes_K += torch.bincount(class_B, minlength=len(self._classes_K))


class TimeShares(Hooks):
    """Shares of the time between the first round and the last one, by the regions of `profile`."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._before: dict[str, float] = {}
        self._seconds: dict[str, float] = {}

    def phase(self, name: str) -> None:
        """Begins and ends the count."""
        if name == "distilling":
            self._before = dict(self._profile.seconds)
        elif name == "evaluating":
            self._seconds = {
                region: seconds - self._before.get(region, 0.0)
                for region, seconds in self._profile.seconds.items()
            }

    def shares(self, total_seconds: float) -> dict[str, float]:
        """Field of `PARTS` -> its share of the training's seconds; `other` is the rest."""
        parts = {
            part: sum(self._seconds.get(region, 0.0) for region in regions) / total_seconds
            for part, regions in PARTS.items()
        }
        return {name: round(share, 3) for name, share in {**parts, "other": 1 - sum(parts.values())}.items()}
