"""Records of matched stages of both networks, for the activation regularizer and attention transfer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfad_core.losses.attention_transfer import attention_map
from dfad_core.networks.stages import Stage, StageTap, find_stages, match_stages


class Adapter(nn.Module):
    """Maps the features of a student's stage to the shape of the teacher's; r in the regularizer's equation.

    Pooling to the teacher's size, then a 1x1 convolution to its channels and BN; the identity where the
    shapes are equal. Flat stages count as images of one pixel.
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


@dataclass(frozen=True)
class StageRecord:
    """The stages of one network during one forward pass; empty where no term reads them."""

    stages: tuple[Tensor, ...] = ()
    """Of the teacher: which pre-activations are positive (bool). Of the student: adapted pre-activations."""
    attention: tuple[Tensor, ...] = ()
    """Attention maps (B, H * W) of the spatial stages, at the teacher's size."""


class StageRecorder:
    """Reads the paired stages during forward passes; holds the adapters, which train with the student."""

    def __init__(
        self,
        teacher: nn.Module,
        student: nn.Module,
        example_BCHW: Tensor,
        *,
        boundaries: bool = True,
        attention: bool = False,
    ) -> None:
        pairs = match_stages(find_stages(teacher, example_BCHW), find_stages(student, example_BCHW))
        self._boundaries, self._attention = boundaries, attention
        self._sizes = [teacher_stage.size for teacher_stage, _ in pairs]
        self._teacher_tap = StageTap([teacher_stage for teacher_stage, _ in pairs])
        self._student_tap = StageTap([student_stage for _, student_stage in pairs])
        self.adapters = nn.ModuleList(
            Adapter(student_stage, teacher_stage) for teacher_stage, student_stage in pairs if boundaries
        )

    def __len__(self) -> int:
        """Number of stages that a term compares; a flat stage has no attention map."""
        return sum(self._boundaries or size != (1, 1) for size in self._sizes)

    def ask_teacher(
        self, teacher: Callable[[Tensor], Tensor], images_BCHW: Tensor
    ) -> tuple[Tensor, StageRecord]:
        """The teacher's logits (B, K), and the record of its stages without a graph."""
        with self._teacher_tap.recording():
            logits_BK = teacher(images_BCHW)
        with torch.no_grad():
            tensors = self._teacher_tap.tensors
            active = tuple(as_image(f) > 0 for f in tensors if self._boundaries)
            record = StageRecord(active, self._maps(tensors))
        self._teacher_tap.tensors = ()  # they hold the graph
        return logits_BK, record

    def ask_student(
        self, student: Callable[[Tensor], Tensor], images_BCHW: Tensor
    ) -> tuple[Tensor, StageRecord]:
        """The student's logits (B, K), and the record of its stages with their graph."""
        with self._student_tap.recording():
            logits_BK = student(images_BCHW)
        stages, self._student_tap.tensors = self._student_tap.tensors, ()
        # `adapters` is empty without the regularizer.
        adapted = tuple(r(f) for r, f in zip(self.adapters, stages, strict=False))
        return logits_BK, StageRecord(adapted, self._maps(stages))

    def _maps(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        if not self._attention:
            return ()
        pairs = zip(tensors, self._sizes, strict=True)
        return tuple(_sized_map(f, size) for f, size in pairs if f.dim() == 4 and size != (1, 1))


def _sized_map(features_BCHW: Tensor, size: tuple[int, int]) -> Tensor:
    """The attention map of rectified features, pooled to `size` first where theirs differs."""
    rectified = F.relu(features_BCHW.float())
    if rectified.shape[-2:] != size:
        rectified = F.adaptive_avg_pool2d(rectified, size)
    return attention_map(rectified)


def as_image(features: Tensor) -> Tensor:
    """(B, C) as (B, C, 1, 1); images as they are."""
    return features if features.dim() == 4 else features[:, :, None, None]
