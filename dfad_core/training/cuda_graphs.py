"""CUDA graphs around a step: its kernels are recorded once and replayed, without waiting for Python.

Small networks leave a GPU idle while Python starts the next kernel. A step is a function of tensors; nothing
in it knows of the recording.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import Tensor

from dfad_core.training import profiling
from dfad_core.training.queries import Queries

T = TypeVar("T")

WARM_UP = 3
"""Plain calls before the recording, in which libraries choose kernels and optimizers make their state."""


class Recorder(Protocol):
    """How a step is warmed up and recorded."""

    def warm_up(self, step: Callable[[], Any]) -> Any:
        """Call the step plainly, in a way that allows a recording later."""

    def record(self, step: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        """Record the step: what replays it, and the outputs that each replay writes anew."""


class CudaRecorder:
    """Records with torch.cuda.CUDAGraph."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def warm_up(self, step: Callable[[], Any]) -> Any:
        """On a side stream, as the recording will be."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            outputs = step()
        torch.cuda.current_stream().wait_stream(self._stream)
        return outputs

    def record(self, step: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        """Nothing is computed until the first replay."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = step()
        return graph.replay, outputs


@dataclass
class _Recording:
    calls: int = 0
    inputs: tuple[Any, ...] = ()
    replay: Callable[[], None] | None = None
    queries: int = 0
    outputs: Any = None


class GraphedSteps:
    """Calls steps; after some calls with tensors of the same shapes, replays a recording instead.

    A step may depend on its inputs, on networks and optimizer state that stay where they are in memory, and
    on nothing in Python that changes. Inputs and outputs are tensors, or tuples, lists, dictionaries and
    dataclasses of tensors; other values in them are constants of the recording.
    """

    def __init__(self, recorder: Recorder, queries: Queries) -> None:
        """`queries` counts in Python, which a replay leaves out: each replay adds the recording's number."""
        self._recorder, self._queries = recorder, queries
        self._recordings: dict[tuple[object, ...], _Recording] = {}

    def __call__(self, step: Callable[..., T], *inputs: Any) -> T:
        """The outputs of `step(*inputs)`; copies of a replay's, since the next replay overwrites them."""
        if profiling.active():
            return step(*inputs)
        form = tuple((tuple(t.shape), t.dtype) for t in _tensors(inputs))
        recording = self._recordings.setdefault((step, form), _Recording())
        if recording.calls < WARM_UP:
            recording.calls += 1
            return cast(T, self._recorder.warm_up(lambda: step(*inputs)))
        if recording.replay is None:
            own = recording.inputs = _mapped(inputs, torch.clone)
            before = self._queries.images
            recording.replay, recording.outputs = self._recorder.record(lambda: step(*own))
            recording.queries = self._queries.images - before
            self._queries.images = before
        else:
            for recorded_input, new_input in zip(_tensors(recording.inputs), _tensors(inputs), strict=True):
                recorded_input.copy_(new_input)
        recording.replay()
        self._queries.images += recording.queries
        return cast(T, _mapped(recording.outputs, torch.clone))


def _mapped(value: T, change: Callable[[Tensor], Tensor]) -> T:
    """`value` with every tensor in it changed."""
    result: Any = value
    if isinstance(value, Tensor):
        result = change(value)
    elif isinstance(value, (tuple, list)):
        result = type(value)(_mapped(item, change) for item in value)
    elif isinstance(value, dict):
        result = {name: _mapped(item, change) for name, item in value.items()}
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _mapped(getattr(value, f.name), change) for f in dataclasses.fields(value)}
        result = dataclasses.replace(value, **fields)
    return result  # type: ignore[no-any-return]


def _tensors(value: Any) -> list[Tensor]:
    """All tensors in `value`, in order."""
    tensors: list[Tensor] = []

    def add(tensor: Tensor) -> Tensor:
        tensors.append(tensor)
        return tensor

    _mapped(value, add)
    return tensors
