"""Pre-activation stages, detected in one forward pass; no network has to declare them.

Activation boundaries lie at ReLU-like calls. Consecutive calls at one spatial size form a stage, and the
stage's output is the input of the last of them. Linear layers count as 1x1; those between spatial calls, as
in squeeze-and-excitation, are left out. Calls are identified by their order, so networks must make the same
calls on every forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations, zip_longest
from math import log
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

RELU_LIKE = frozenset(
    {
        F.relu, F.relu_, F.relu6, F.leaky_relu, F.elu, F.gelu, F.silu, F.hardswish, F.prelu,
        torch.relu, torch.relu_, Tensor.relu, Tensor.relu_,
    }
)  # fmt: skip

IN_PLACE = frozenset({F.relu_, torch.relu_, Tensor.relu_})


@dataclass(frozen=True)
class Stage:
    """One pre-activation: the `call`-th ReLU-like call of a forward pass."""

    call: int
    channels: int
    size: tuple[int, int]
    """Height and width; (1, 1) for a linear layer."""

    @property
    def is_flat(self) -> bool:
        """Whether it has no spatial extent."""
        return self.size == (1, 1)


class _Watch(TorchFunctionMode):
    """Calls `record(number, tensor)` with the input of each ReLU-like call, or of `selected` calls alone."""

    def __init__(self, record: Callable[[int, Tensor], None], selected: frozenset[int] | None) -> None:
        super().__init__()
        self._record = record
        self._selected = selected
        self.calls = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if _is_relu_like(func, args, kwargs):
            number, self.calls = self.calls, self.calls + 1
            if self._selected is None or number in self._selected:
                tensor = args[0] if args else kwargs["input"]
                # An in-place call overwrites its input, so a copy is recorded.
                self._record(number, tensor.clone() if _is_in_place(func, args, kwargs) else tensor)
        return func(*args, **kwargs)


def _is_relu_like(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    if func is F.hardtanh:  # nn.ReLU6 is a hardtanh from 0; other hardtanhs have no boundary at 0
        return bool((args[1] if len(args) > 1 else kwargs.get("min_val", -1.0)) == 0)
    return func in RELU_LIKE


def _is_in_place(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    # Modules pass `inplace` by name or by position; none of these functions takes another bool.
    return func in IN_PLACE or bool(kwargs.get("inplace")) or any(a is True for a in args)


def _channels_and_size(tensor: Tensor) -> tuple[int, tuple[int, int]]:
    if tensor.dim() == 4:
        return tensor.shape[1], (tensor.shape[2], tensor.shape[3])
    return tensor.shape[-1], (1, 1)


def find_stages(module: nn.Module, example_BCHW: Tensor) -> list[Stage]:
    """The stages of `module`, shallow to deep, from one pass over `example_BCHW` in eval mode."""
    calls: list[Stage] = []

    def record(number: int, tensor: Tensor) -> None:
        calls.append(Stage(number, *_channels_and_size(tensor)))

    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        with torch.no_grad(), _Watch(record, None):
            module(example_BCHW)
    finally:
        for submodule, mode in modes:
            submodule.training = mode
    last_spatial = max((number for number, call in enumerate(calls) if not call.is_flat), default=-1)
    # Before it, a flat call is that of squeeze-and-excitation: not on the way from stage to stage.
    calls = [call for number, call in enumerate(calls) if number >= last_spatial or not call.is_flat]
    return [s for s, after in zip_longest(calls, calls[1:]) if after is None or after.size != s.size]


class StageTap:
    """Collects the pre-activations of chosen stages during ordinary forward passes.

    `with tap.recording(): logits = module(x)` leaves them in `tap.tensors`, in the stages' order and with
    their graph; nothing is computed twice. Inputs of in-place activations are copied.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._calls = tuple(s.call for s in stages)
        self._selected = frozenset(self._calls)
        self.tensors: tuple[Tensor, ...] = ()

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Collect the pre-activations of the block, which holds exactly one forward pass."""
        inputs: dict[int, Tensor] = {}
        with _Watch(inputs.__setitem__, self._selected):
            yield
        self.tensors = tuple(inputs[call] for call in self._calls)


def match_stages(teacher: Sequence[Stage], student: Sequence[Stage]) -> list[tuple[Stage, Stage]]:
    """Pairs (teacher stage, student stage) for networks of any depths and widths.

    Every stage of the network with fewer stages gets a partner in the other network, in order. Among all such
    matches the one with the least differences in relative size and depth wins. Spatial stages are paired with
    spatial ones, flat with flat.
    """
    pairs: list[tuple[Stage, Stage]] = []
    for flat in (False, True):
        teacher_stages = [s for s in teacher if s.is_flat == flat]
        student_stages = [s for s in student if s.is_flat == flat]
        pairs += _match(teacher_stages, student_stages)
    return pairs


def _match(teacher: list[Stage], student: list[Stage]) -> list[tuple[Stage, Stage]]:
    if len(teacher) < len(student):
        return [(t, s) for s, t in _match(student, teacher)]
    best: list[tuple[Stage, Stage]] = []
    least = float("inf")
    for chosen in combinations(range(len(teacher)), len(student)):
        cost = 0.0
        for place, number in enumerate(chosen):
            (th, tw), (sh, sw) = teacher[number].size, student[place].size
            depth = (number + 1) / len(teacher) - (place + 1) / len(student)
            cost += abs(log(th / sh)) + abs(log(tw / sw)) + abs(depth)
        if cost < least:
            least = cost
            best = [(teacher[n], s) for n, s in zip(chosen, student, strict=True)]
    return best
