"""Base classes of the terms, and the tensors that a term may read.

Suffixes of tensors: B images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ClassVar, Self

from torch import Tensor, nn

from dfad_core.contract.recipe import Recipe
from dfad_core.data.batch import Batch
from dfad_core.losses.virtual_interpolation import Mixing

Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class GeneratorView:
    """Tensors that a term on the generator may read; gradients pass through images and logits."""

    student_logits_BK: Tensor | None
    """None where no term needs them."""
    teacher_logits_BK: Tensor
    images_BCHW: Tensor | None = None
    classes_B: Tensor | None = None
    """The requested class of each image (int64); None where the method requests none."""


@dataclass(frozen=True)
class StudentView:
    """Tensors and networks that a term on the student may use."""

    batch: Batch
    student_logits_BK: Tensor
    student_stages: tuple[Tensor, ...]
    """Adapted pre-activations, one for each entry of `batch.active`."""
    student_attention: tuple[Tensor, ...]
    """Attention maps, one for each entry of `batch.attention`."""
    student: Network
    """The student in training, for images that the term makes itself."""
    teacher: Network
    """The frozen teacher, without gradient."""
    mixing: Mixing | None
    """Partners and shares of virtual interpolation for this batch; None without it."""


class GeneratorTerm:
    """One unsigned gap in the generator's loss."""

    name: ClassVar[str]
    """Name of its figure in progress reports."""
    weight_field: ClassVar[str]
    """The recipe's field with its weight; at 0 the term is not built."""
    sign: ClassVar[int] = 1
    """1: the generator minimises the gap; -1: it maximises it."""
    needs_student: ClassVar[bool] = False
    """Whether it needs the student's logits."""
    needs_bn: ClassVar[bool] = False
    """Whether it reads the teacher's BN layers; without any, the term is left out."""

    @classmethod
    def build(cls, _recipe: Recipe, _teacher: nn.Module, _example_BCHW: Tensor, /) -> Self:
        """The term for a recipe and a teacher; the example is any batch that the teacher accepts."""
        return cls()

    def recording(self) -> AbstractContextManager[None]:
        """Context of the forward passes of a generator update, for a term that records layers."""
        return nullcontext()

    def value(self, view: GeneratorView) -> Tensor:
        """The gap, a scalar in float32 or finer."""
        raise NotImplementedError


class StudentTerm:
    """One unsigned gap in the student's loss; the student minimises it."""

    name: ClassVar[str]
    """Name of its figure in progress reports."""
    weight_field: ClassVar[str]
    """The recipe's field with its weight; at 0 the term is not built."""
    needs_boundaries: ClassVar[bool] = False
    """Whether it reads which units are active at matched stages of both networks."""
    needs_attention: ClassVar[bool] = False
    """Whether it reads attention maps of matched stages of both networks."""
    concentration: float | None = None
    """a of Beta(a, a) for a term that mixes images; None for all others."""

    @classmethod
    def build(cls, _recipe: Recipe, _teacher: nn.Module, _example_BCHW: Tensor, /) -> Self:
        """The term for a recipe and a teacher; the example is any batch that the teacher accepts."""
        return cls()

    def value(self, view: StudentView) -> Tensor | None:
        """The gap, a scalar in float32 or finer; None where it does not apply to this batch."""
        raise NotImplementedError
