"""Builds a torch.fx graph call by call, and knows the shape of every value on the way.

Every call is first made on the meta device, where it costs no memory, and refused if its result would be
larger than any network's: a few bytes of a file can ask for terabytes. What depends on no input is computed
once, here.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.fx.node import map_aggregate

from dfad_core.contract.errors import TeacherRejected

Value = fx.Node | Tensor
"""What an operator takes and gives; a tensor is a constant."""

BATCH = 3
"""Images in the pass that finds the shapes; a number that seldom is a size of its own."""
MAX_VALUES = BATCH * 2**26
"""Of one result: 256 MiB an image."""
MAX_ALL_VALUES = BATCH * 2**29
"""Of all results: what a forward pass that is differentiated keeps."""
MAX_SHAPE = 64
"""Longest list of integers that is read as a shape, and so has its values while shapes are found."""


def too_large() -> TeacherRejected:
    """The refusal of a graph that asks for more memory than a network needs."""
    return TeacherRejected("The graph asks for more memory than is given.", code="memory_limit")


def fits(shape: list[int]) -> list[int]:
    """`shape` itself. Raises TeacherRejected (`memory_limit`) where a tensor of it would be too large."""
    total = 1
    for side in shape:
        total *= max(int(side), 1)
    if total > MAX_VALUES:
        raise too_large()
    return shape


class Emitter:
    """One graph under construction."""

    def __init__(self, shape: tuple[int, int, int], batch: int = BATCH) -> None:
        self.batch = batch
        self.root = nn.Module()
        self._graph = fx.Graph()
        self._layers = 0
        self._values = 0
        self.input = self._graph.placeholder("images")
        self.input.meta["value"] = torch.empty(batch, *shape, device="meta")

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """A call of `function` when the network runs; its result if no argument depends on the input."""
        given = map_aggregate(args, _value)
        nodes: list[fx.Node] = []
        map_aggregate(args, lambda a: nodes.append(a) if isinstance(a, fx.Node) else a)
        tensors: list[Tensor] = []
        map_aggregate(given, lambda a: tensors.append(a) if isinstance(a, Tensor) else a)
        value = self._checked(function(*map_aggregate(given, _without_memory)))
        if not any(t.is_meta for t in tensors):
            value = function(*given)
        if not nodes:
            return value
        node = self._graph.call_function(function, map_aggregate(args, self._held))
        node.meta["value"] = value
        return node

    def parts(self, pieces: Any, number: int) -> list[Any]:
        """The first `number` of what a call gave as a tuple."""
        return [self.call(operator.getitem, pieces, place) for place in range(number)]

    def layer(self, module: nn.Module, value: Value) -> Value:
        """A call of `module`, which becomes a part of the network."""
        if not isinstance(value, fx.Node):
            raise TeacherRejected("A layer does not depend on the input.", code="unsupported_op")
        name = f"layer{self._layers}"
        self._layers += 1
        module.eval().requires_grad_(requires_grad=True)
        self.root.add_module(name, module)
        state = {key: tensor.detach().to("meta") for key, tensor in module.state_dict().items()}
        node = self._graph.call_module(name, (value,))
        node.meta["value"] = self._checked(functional_call(module, state, (value.meta["value"],)))
        return node

    def finish(self, output: Value) -> fx.GraphModule:
        """The network whose result is `output`."""
        if not isinstance(output, fx.Node):
            raise TeacherRejected("The output does not depend on the input.", code="unsupported_op")
        self._graph.output(output)
        for node in self._graph.nodes:
            node.meta.clear()
        module = fx.GraphModule(self.root, self._graph, class_name="Graph").eval()
        module.graph.eliminate_dead_code()
        module.recompile()
        module.delete_all_unused_submodules()
        return module

    def _held(self, argument: Any) -> Any:
        """A constant tensor as a buffer of the network; anything else as it is."""
        if not isinstance(argument, Tensor):
            return argument
        name = f"constant{self._layers}"
        self._layers += 1
        self.root.register_buffer(name, argument.clone(), persistent=argument.is_floating_point())
        return self._graph.get_attr(name)

    def _checked(self, result: Any) -> Any:
        parts = result if isinstance(result, tuple | list) else (result,)
        for part in parts:
            if isinstance(part, Tensor):
                fits(list(part.shape))
                self._values += part.numel()
        if self._values > MAX_ALL_VALUES:
            raise too_large()
        return result


def value_of(value: Value | None) -> Tensor:
    """What is known of it: a constant itself, else a tensor that may have no memory."""
    tensor = value.meta["value"] if isinstance(value, fx.Node) else value
    assert isinstance(tensor, Tensor)
    return tensor


def _value(argument: Any) -> Any:
    return argument.meta["value"] if isinstance(argument, fx.Node) else argument


def _without_memory(argument: Any) -> Any:
    if not isinstance(argument, Tensor):
        return argument
    is_shape = not argument.is_floating_point() and argument.dim() <= 1 and argument.numel() <= MAX_SHAPE
    return argument if is_shape else argument.to("meta")
