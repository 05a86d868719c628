"""A step's launches recorded once and replayed: on a GPU, small kernels otherwise wait for Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dfad_core import profiling

Tensors = dict[str, Tensor]
Body = Callable[[Tensors], Tensors]

WARM_UP = 3
"""Runs before the recording: libraries choose their kernels and optimizers make their state in these."""


class Counter(Protocol):
    """Counts the teacher's queries in Python, where a replay does not come by."""

    queries: int


class Recorder(Protocol):
    """How bodies are warmed up and recorded."""

    def warm_up(self, body: Body, inputs: Tensors) -> Tensors:
        """Run the body as it is, so that it can be recorded later."""

    def record(self, body: Body, inputs: Tensors) -> tuple[Callable[[], None], Tensors]:
        """Record the body on these very tensors: what replays it, and the tensors it then writes."""


class CudaRecorder:
    """CUDA graphs (torch.cuda.CUDAGraph)."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def warm_up(self, body: Body, inputs: Tensors) -> Tensors:
        """On a stream of its own, as recording will be."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            outputs = body(inputs)
        torch.cuda.current_stream().wait_stream(self._stream)
        return outputs

    def record(self, body: Body, inputs: Tensors) -> tuple[Callable[[], None], Tensors]:
        """Nothing is computed until the first replay."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = body(inputs)
        return graph.replay, outputs


@dataclass
class _Entry:
    """What is known of the bodies run on inputs of one form."""

    runs: int = 0
    asked: int = 0
    inputs: Tensors | None = None
    replay: Callable[[], None] | None = None
    outputs: Tensors | None = None


class Replay:
    """Runs a body on tensors; after some runs on tensors of the same form, as a recording.

    A body is a function of its inputs, of networks and optimizer state that stay where they are in memory,
    and of nothing in Python that changes. Without a recorder it is simply called.
    """

    def __init__(self, recorder: Recorder | None = None) -> None:
        self._recorder = recorder
        self._entries: dict[tuple[object, ...], _Entry] = {}

    def run(self, body: Body, inputs: Tensors, counter: Counter) -> Tensors:
        """The body's outputs; of a recording they are copies, for the next replay writes over them."""
        if self._recorder is None or profiling.active():
            return body(inputs)
        key = tuple((name, t.shape, t.dtype) for name, t in inputs.items())
        entry = self._entries.setdefault(key, _Entry())
        before = counter.queries
        if entry.runs < WARM_UP:
            entry.runs += 1
            outputs = self._recorder.warm_up(body, inputs)
            entry.asked = counter.queries - before
            return outputs
        if entry.replay is None:
            entry.inputs = {name: t.clone() for name, t in inputs.items()}
            entry.replay, entry.outputs = self._recorder.record(body, entry.inputs)
        else:
            assert entry.inputs is not None
            for name, tensor in inputs.items():
                entry.inputs[name].copy_(tensor)
        entry.replay()
        counter.queries = before + entry.asked
        assert entry.outputs is not None
        return {name: t.clone() for name, t in entry.outputs.items()}
