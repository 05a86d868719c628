"""Measurements of the inputs of some layers of the teacher."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

Measure = Callable[[nn.Module, Tensor], tuple[Tensor, ...]]


class LayerInputs:
    """Applies `measure` to the inputs of `layers` during the first forward pass of `network` in a block.

    Later passes in the block belong to other terms, which have images of their own, and are not recorded.
    """

    def __init__(self, network: nn.Module, layers: Sequence[nn.Module], measure: Measure) -> None:
        self._network, self._layers, self._measure = network, list(layers), measure
        self._values: list[tuple[Tensor, ...]] = []
        self._recording = False

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record in this block."""
        self._values, self._recording = [], True
        handles = [layer.register_forward_pre_hook(self._record) for layer in self._layers]
        handles.append(self._network.register_forward_hook(self._end_of_pass))
        try:
            yield
        finally:
            self._recording = False
            for handle in handles:
                handle.remove()

    def take(self) -> list[tuple[Tensor, ...]]:
        """The measurements, in the order of the layers' calls. They hold the graph and are returned once."""
        values, self._values = self._values, []
        return values

    def _record(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if self._recording:
            self._values.append(self._measure(layer, inputs[0]))

    def _end_of_pass(self, _network: nn.Module, _inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        self._recording = False
