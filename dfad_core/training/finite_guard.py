"""Keeps non-finite numbers out of the training: losses, and the teacher's logits for single images."""

from __future__ import annotations

import torch
from torch import Tensor

from dfad_core.contract.errors import DivergedError
from dfad_core.training.distributed import Group

MAX_SHARE = 0.1
"""Largest share of images for which the teacher's logits may be NaN or infinite."""
MIN_IMAGES = 256
"""Least number of images that the share is computed from, so that a few early ones do not decide."""
MIN_ROWS = 2
"""Least number of images that remain in a batch: batch norm needs two."""


class FiniteGuard:
    """Checks every loss before its update, and the teacher's logits.

    On the CPU a loss that is not finite raises at once. On CUDA, reading it in every step would wait for the
    device. There a flag stays on the device, fused optimizers skip their update while it is set (the
    mechanism of gradient scaling), and `raise_if_set` reads it whenever figures are read anyway. `deferred`
    chooses between the two; None: deferred on CUDA in one process. In a process group all processes share the
    flag before any of them updates its weights.

    Images for which the teacher's logits are not finite are left out and counted. If deferred, this check of
    every image begins after the first loss that was not finite because of such images: `row_checks` becomes
    true, and the flag is cleared.
    """

    def __init__(
        self, device: torch.device, *, group: Group | None = None, deferred: bool | None = None
    ) -> None:
        self._group = group or Group()
        # Several processes wait for each other in every round anyway, and must end in the same one.
        alone_on_gpu = device.type == "cuda" and self._group.size == 1
        self._deferred = alone_on_gpu if deferred is None else deferred
        self._flag, self._unread = torch.zeros((), device=device), torch.zeros((), device=device)
        self.row_checks = not self._deferred or self._group.size > 1
        """Whether the teacher's logits are checked for every image."""
        self.images, self.dropped = 0, 0
        """Number of checked images, and how many of them were left out."""

    @property
    def waits_for_device(self) -> bool:
        """Whether a step reads from a GPU, which a recorded CUDA graph cannot do."""
        return self._deferred and self.row_checks

    def check(self, loss: Tensor, optimizer: torch.optim.Optimizer, phase: str) -> None:
        """Raise DivergedError or, if deferred, set the flag where `loss` is NaN or infinite."""
        # In place: the optimizers and a recorded CUDA graph hold this tensor.
        torch.maximum(self._flag, (~torch.isfinite(loss.detach())).float(), out=self._flag)
        self._group.maximum(self._flag)
        if self._deferred:
            self.protect(optimizer)
        elif bool(self._flag):
            raise DivergedError(f"the {phase}'s loss is not finite", param=phase)

    def protect(self, optimizer: torch.optim.Optimizer) -> None:
        """Let `optimizer`, a fused one, make no update while the flag is set."""
        if self._deferred:
            optimizer.found_inf = self._flag  # type: ignore[attr-defined]

    def raise_if_set(self, images: int = 0) -> bool:
        """Raise DivergedError if any loss until now was not finite; waits for the device.

        Returns True if one was not finite because of the teacher's logits for a few of `images` images. The
        flag is then cleared and such images are left out; the caller drops those in stored batches.
        """
        if not self._deferred or not bool(self._flag):
            return False
        unread = int(self._unread)
        if self.row_checks or not unread:
            raise DivergedError("a loss is not finite; no update was made from it")
        self.images, self.dropped = max(images, self.images), self.dropped + unread
        self._raise_if_many(images - unread)
        self.row_checks = True
        self._flag.zero_()
        return True

    def finite_rows(self, logits_BK: Tensor) -> Tensor | None:
        """Indices of the images with finite logits; None where these are all, or if images are not checked.

        Raises DivergedError (`teacher_not_finite`) where fewer than two remain or, in one process, where the
        share left out until now is over `MAX_SHARE`. Several processes go on, since they wait for each other.
        """
        if not self.row_checks:
            self._unread += (~torch.isfinite(logits_BK.detach())).any(dim=1).sum()
            return None
        finite_B = torch.isfinite(logits_BK.detach()).all(dim=1)
        self.images += len(finite_B)
        if bool(finite_B.all()):
            return None
        rows = finite_B.nonzero().flatten()
        self.dropped += len(finite_B) - len(rows)
        if self._group.size > 1 and len(rows) < MIN_ROWS:
            return None  # the loss is then not finite, and all processes share the flag
        self._raise_if_many(len(rows))
        return rows

    def count(self, images: int, rows: int) -> None:
        """Count `images`, of which `rows` have finite logits, for a caller that left out the others itself.

        Raises DivergedError as `finite_rows` does.
        """
        self.images += images
        self.dropped += images - rows
        self._raise_if_many(rows)

    def _raise_if_many(self, rows: int) -> None:
        many = self.dropped > MAX_SHARE * max(self.images, MIN_IMAGES) and self._group.size == 1
        if many or rows < MIN_ROWS:
            raise DivergedError(
                f"the teacher's answers to {self.dropped} of {self.images} synthetic images are not finite "
                f"(NaN or infinite); up to {MAX_SHARE:.0%} are left out",
                code="teacher_not_finite",
                param="teacher",
            )

    def state_dict(self) -> dict[str, int]:
        """The counts."""
        return {
            "images": self.images,
            "dropped": self.dropped,
            "unread": int(self._unread),
            "row_checks": int(self.row_checks),
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Load what `state_dict` returned."""
        self.images, self.dropped = state["images"], state["dropped"]
        self._unread.fill_(state["unread"])
        self.row_checks = self.row_checks or bool(state["row_checks"])
