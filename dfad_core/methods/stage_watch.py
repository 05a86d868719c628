"""What the activation regularizer looks at: matched stages of both networks, and the adapters r."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfad_core.models.stages import Stage, StageTap, find_stages, match_stages


class Adapter(nn.Module):
    """r of one stage: 1x1 convolution and BN onto the teacher's channels, pooled to its size.

    The identity where both stages have the same form. Flat stages count as images of one pixel.
    """

    def __init__(self, student: Stage, teacher: Stage) -> None:
        super().__init__()
        self._size = None if student.size == teacher.size else teacher.size
        self.project: nn.Module = nn.Identity()
        if (student.channels, student.size) != (teacher.channels, teacher.size):
            self.project = nn.Sequential(
                nn.Conv2d(student.channels, teacher.channels, 1, bias=False), nn.BatchNorm2d(teacher.channels)
            )

    def forward(self, features: Tensor) -> Tensor:
        """(B, C_student, H, W) or (B, C_student) -> the teacher's (B, C, H, W); flat ones as 1x1."""
        x = as_image(features)
        if self._size is not None:
            x = F.adaptive_avg_pool2d(x, self._size)
        adapted: Tensor = self.project(x)
        return adapted


class StageWatch:
    """Listens to the stages that were paired; holds the adapters, which train with the student."""

    def __init__(self, teacher: nn.Module, student: nn.Module, example_BCHW: Tensor) -> None:
        pairs = match_stages(find_stages(teacher, example_BCHW), find_stages(student, example_BCHW))
        self._teacher_tap = StageTap([of_teacher for of_teacher, _ in pairs])
        self._student_tap = StageTap([of_student for _, of_student in pairs])
        self.adapters = nn.ModuleList(Adapter(of_student, of_teacher) for of_teacher, of_student in pairs)

    def __len__(self) -> int:
        return len(self.adapters)

    def ask_teacher(
        self, teacher: Callable[[Tensor], Tensor], images_BCHW: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The teacher's answer, and for each stage where its pre-activations are positive (bool)."""
        with self._teacher_tap.listening():
            logits_BK = teacher(images_BCHW)
        with torch.no_grad():
            active = tuple(as_image(f) > 0 for f in self._teacher_tap.tensors)
        self._teacher_tap.tensors = ()  # they hold the graph
        return logits_BK, active

    def ask_student(
        self, student: Callable[[Tensor], Tensor], images_BCHW: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The student's answer, and its adapted stages with their graph."""
        with self._student_tap.listening():
            logits_BK = student(images_BCHW)
        stages, self._student_tap.tensors = self._student_tap.tensors, ()
        return logits_BK, tuple(r(f) for r, f in zip(self.adapters, stages, strict=True))


def as_image(features: Tensor) -> Tensor:
    """(B, C) as (B, C, 1, 1); images as they are."""
    return features if features.dim() == 4 else features[:, :, None, None]
