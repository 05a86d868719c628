"""Single images of the pool for the student, each in a view of its own."""

from __future__ import annotations

from typing import Literal

import numpy as np
from torch import Tensor

from dfad_core.contract.recipe import FIRST_BATCHES
from dfad_core.data import Pool, Streams
from dfad_core.data.augmentation import mixed_pairs, random_resized_crop, shifted
from dfad_core.methods.image_choice import ImageChoice
from dfad_core.training.profiling import region


class SingleImages:
    """Draws images of `pool`, each with the share that `choice` gives it, or all alike without one.

    `first_batches`: batches in the pool before the student begins. `kind`: a recipe's `views`.
    """

    def __init__(
        self,
        pool: Pool,
        choice: ImageChoice | None,
        streams: Streams,
        batch_size: int,
        *,
        first_batches: int = FIRST_BATCHES,
        kind: Literal["cropped", "shifted", "whole"] = "cropped",
        mixed_share: float = 0.0,
    ) -> None:
        self.choice = choice
        self._first_batches, self._kind, self._mixed_share = first_batches, kind, mixed_share
        self._pool, self._streams, self._batch_size = pool, streams, batch_size
        self._shares_N: np.ndarray | None = None

    @property
    def waits_for_images(self) -> bool:
        """Whether the pool has too few images for the student to begin."""
        return len(self._pool) < min(self._first_batches, self._pool.capacity)

    def choose(self) -> None:
        """Choose anew, after images came or went."""
        if self.choice is not None and len(self._pool) > 0:
            with region("choice of images"):
                self._shares_N = self.choice.shares(self._pool.statistics_ND)

    def views(self) -> Tensor:
        """Images of the pool, each in a view of its own: (B, C, H, W), float32."""
        with region("views"):
            images_BCHW = self._pool.draw_images(self._batch_size, self._streams.pool, self._shares_N)
            if self._kind != "whole":
                images_BCHW = (shifted if self._kind == "shifted" else random_resized_crop)(images_BCHW)
            return mixed_pairs(images_BCHW, self._mixed_share)
