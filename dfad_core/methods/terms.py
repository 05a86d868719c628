"""Terms: a loss together with what it needs to watch. The game holds their weights and signs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dfad_core import losses
from dfad_core.data.batch import Batch
from dfad_core.networks.batch_norm import bn_layers

Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class GeneratorView:
    """What a term on the generator may look at; images and logits carry its gradient."""

    student_logits_BK: Tensor | None
    """None where no term asks for it."""
    teacher_logits_BK: Tensor
    images_BCHW: Tensor | None = None
    wanted_B: Tensor | None = None
    """The classes that the images shall show; None where the method wants none in particular."""


@dataclass(frozen=True)
class StudentView:
    """What a term on the student may look at."""

    batch: Batch
    student_logits_BK: Tensor
    student_stages: tuple[Tensor, ...]
    """Adapted pre-activations, one for each entry of `batch.active`."""
    student_attention: tuple[Tensor, ...]
    """Attention maps, one for each entry of `batch.attention`."""
    student: Network
    """The student in training, for images of the term's own making."""
    teacher: Network
    """The frozen teacher, without gradient."""
    mixing: losses.Mixing | None
    """Partners and shares of virtual interpolation for this batch; None without it."""


class GeneratorTerm:
    """One unsigned gap on the generator's side."""

    name = ""
    asks_student = False
    """Whether it needs the student's logits."""
    teacher_passes = 0
    """Teacher passes for each image that it causes, beside the one that labels the image."""

    def listening(self) -> AbstractContextManager[None]:
        """Entered around the forward passes of the generator phase."""
        return nullcontext()

    def value(self, view: GeneratorView) -> Tensor:
        """The gap, a scalar in float32 or finer."""
        raise AssertionError("abstract")


class GeneratorDiscrepancy(GeneratorTerm):
    """The game's value, by one of the gaps between two networks' logits."""

    name = "discrepancy"
    asks_student = True

    def __init__(self, gap: Callable[[Tensor, Tensor], Tensor] = losses.discrepancy) -> None:
        self._gap = gap

    def value(self, view: GeneratorView) -> Tensor:
        """The gap of the two networks."""
        assert view.student_logits_BK is not None
        return self._gap(view.student_logits_BK, view.teacher_logits_BK)


class OneHot(GeneratorTerm):
    """The wish for sure teachers, and for the wanted classes where there are such."""

    name = "one_hot"

    def value(self, view: GeneratorView) -> Tensor:
        """`losses.one_hot` of the teacher."""
        return losses.one_hot(view.teacher_logits_BK, view.wanted_B)


class ClassEntropy(GeneratorTerm):
    """DAFL's wish for balanced batches."""

    name = "class_entropy_gap"

    def value(self, view: GeneratorView) -> Tensor:
        """`losses.class_entropy` of the teacher."""
        return losses.class_entropy(view.teacher_logits_BK)


class BNStatistics(GeneratorTerm):
    """Reads the inputs of the teacher's BN layers, by hooks that live in the generator phase only."""

    name = "bn_statistics"

    def __init__(self, teacher: nn.Module) -> None:
        self._watched = bn_layers(teacher)
        self._seen: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def _record(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        # Squares of bfloat16 features lose the variance; its statistics need float32.
        features = inputs[0].float()
        dims = [d for d in range(features.dim()) if d != 1]
        var_C, mean_C = torch.var_mean(features, dims, correction=0)
        running_mean_C, running_var_C = layer.running_mean, layer.running_var
        assert isinstance(running_mean_C, Tensor)
        assert isinstance(running_var_C, Tensor)
        self._seen.append((mean_C, var_C, running_mean_C, running_var_C))

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Record for the time of the block."""
        self._seen.clear()
        hooks = [layer.register_forward_pre_hook(self._record) for layer in self._watched]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def value(self, view: GeneratorView) -> Tensor:
        """`losses.bn_statistics` of the teacher's layers during the last listening."""
        gap = losses.bn_statistics(self._seen)
        self._seen.clear()  # they hold the graph
        return gap


class StudentTerm:
    """One unsigned gap on the student's side."""

    name = ""
    teacher_passes = 0
    """Teacher passes for each image that it causes."""

    def value(self, view: StudentView) -> Tensor | None:
        """The gap, a scalar in float32 or finer; None where this batch has nothing to say on it."""
        raise AssertionError("abstract")


class StudentDiscrepancy(StudentTerm):
    """The student's distance from the teacher, by one of the gaps between logits."""

    name = "student_discrepancy"

    def __init__(self, gap: Callable[[Tensor, Tensor], Tensor] = losses.discrepancy) -> None:
        self._gap = gap

    def value(self, view: StudentView) -> Tensor:
        """The gap of the two networks."""
        return self._gap(view.student_logits_BK, view.batch.teacher_logits_BK)


class ActivationBoundary(StudentTerm):
    """The activation regularizer on every matched stage."""

    name = "activation_boundary"

    def __init__(self, margin: float) -> None:
        self._margin = margin

    def value(self, view: StudentView) -> Tensor | None:
        """`losses.activation_boundary`; None where no stage was matched."""
        if not view.batch.active:
            return None
        return losses.activation_boundary(view.student_stages, view.batch.active, self._margin)


class AttentionTransfer(StudentTerm):
    """The distance of both networks' attention maps."""

    name = "attention_transfer"

    def value(self, view: StudentView) -> Tensor | None:
        """`losses.attention_transfer`; None where no spatial stage was matched."""
        if not view.batch.attention:
            return None
        return losses.attention_transfer(view.student_attention, view.batch.attention)


class VirtualInterpolation(StudentTerm):
    """Mixtures of the batch, labelled by mixing the logits or by asking the teacher."""

    name = "virtual_interpolation"

    def __init__(
        self,
        concentration: float,
        *,
        requeried: bool,
        gap: Callable[[Tensor, Tensor], Tensor] = losses.discrepancy,
    ) -> None:
        self.concentration = concentration
        self._requeried, self.teacher_passes = requeried, int(requeried)
        self._gap = gap

    def value(self, view: StudentView) -> Tensor:
        """`losses.virtual_interpolation` on one new mixture of the batch."""
        real_BCHW = view.batch.images_BCHW
        mixing = view.mixing
        assert mixing is not None
        images_BCHW = losses.mix(real_BCHW, mixing)
        if self._requeried:
            labels_BK = view.teacher(images_BCHW)
        else:
            labels_BK = losses.mix(view.batch.teacher_logits_BK, mixing)
        return losses.virtual_interpolation(view.student(images_BCHW), labels_BK, self._gap)
