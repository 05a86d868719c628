"""Construction of a torch.fx graph, call by call, with the shape of every value.

Every call first runs on the meta device, where it costs no memory. A call whose result exceeds the limits is
refused: a few bytes of a file can ask for terabytes. Values that do not depend on the input are computed
here, once.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.fx.node import map_aggregate

from dfad_core.contract.errors import TeacherRejected

Value = fx.Node | Tensor
"""Input or output of an operator; a tensor is a constant."""

BATCH = 3
"""Batch size of the pass that determines the shapes; a number that rarely occurs as another size."""
MAX_VALUES = BATCH * 2**26
"""Largest number of values in one result: 256 MiB an image."""
MAX_ALL_VALUES = BATCH * 2**29
"""Largest number of values in all results, which a forward pass with gradients keeps in memory."""
MAX_SHAPE = 64
"""Longest list of integers that counts as a shape and therefore has real values on the meta device."""


def too_large() -> TeacherRejected:
    """Error for a graph that needs more memory than allowed."""
    return TeacherRejected("The graph asks for more memory than is given.", code="memory_limit")


def fits(shape: list[int]) -> list[int]:
    """`shape` itself. Raises TeacherRejected (`memory_limit`) where a tensor of it would be too large."""
    total = 1
    for side in shape:
        total *= max(int(side), 1)
    if total > MAX_VALUES:
        raise too_large()
    return shape


@dataclass(frozen=True)
class Pieces:
    """A sequence of tensors, which operators on sequences alone take."""

    values: Sequence[Value]


class Emitter:
    """One graph under construction; `weights` are the tensors of its file."""

    def __init__(
        self, shape: tuple[int, int, int], batch: int = BATCH, weights: Iterable[Tensor] = ()
    ) -> None:
        self.batch = batch
        self._weights = {w.untyped_storage().data_ptr(): w.numel() for w in weights}
        self._constants: dict[tuple[object, ...], tuple[str, Tensor]] = {}
        self.root = nn.Module()
        self._graph = fx.Graph()
        self._layers = 0
        self._values = 0
        self.input = self._graph.placeholder("images")
        self.input.meta["value"] = torch.empty(batch, *shape, device="meta")

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Add a call of `function` to the graph. Returns its result if no argument depends on the input."""
        values = map_aggregate(args, _value)
        nodes: list[fx.Node] = []
        map_aggregate(args, lambda a: nodes.append(a) if isinstance(a, fx.Node) else a)
        tensors: list[Tensor] = []
        map_aggregate(values, lambda a: tensors.append(a) if isinstance(a, Tensor) else a)
        value = self._checked(function(*map_aggregate(values, _without_memory)))
        if not any(t.is_meta for t in tensors):
            value = function(*values)
        if not nodes:
            return value
        node = self._graph.call_function(function, map_aggregate(args, self._as_constant))
        node.meta["value"] = value
        return node

    def parts(self, pieces: Any, number: int) -> list[Any]:
        """The first `number` items of a call's result, which is a tuple."""
        return [self.call(operator.getitem, pieces, place) for place in range(number)]

    def layer(self, module: nn.Module, value: Value) -> Value:
        """Add a call of `module`, which becomes a part of the network; of a constant, its result."""
        if not isinstance(value, fx.Node):
            module.eval()
            state = {key: tensor.detach().to("meta") for key, tensor in module.state_dict().items()}
            self._checked(functional_call(module, state, (value.to("meta"),)))
            with torch.no_grad():
                result: Tensor = module(value)
            return result
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

    def _as_constant(self, argument: Any) -> Any:
        """A constant tensor as a part of the network, once; any other argument unchanged.

        Several real numbers of the file are a parameter, in whatever shape: the scale of a layer, positions,
        a token. What is computed from them, and a mask with infinities, is none.
        """
        if not isinstance(argument, Tensor):
            return argument
        storage = argument.untyped_storage().data_ptr()
        key = storage, argument.storage_offset(), argument.shape, argument.stride(), argument.dtype
        if key not in self._constants:
            name = f"constant{self._layers}"
            self._layers += 1
            self._constants[key] = name, argument  # its memory is not used again meanwhile
            is_real = argument.is_floating_point()
            is_of_file = 1 < argument.numel() <= self._weights.get(storage, 0)
            if is_real and is_of_file and bool(torch.isfinite(argument).all()):
                self.root.register_parameter(name, nn.Parameter(argument.clone()))
            else:
                self.root.register_buffer(name, argument.clone(), persistent=is_real)
        return self._graph.get_attr(self._constants[key][0])

    def _checked(self, result: Any) -> Any:
        """`result` itself. Raises TeacherRejected (`memory_limit`) where it exceeds the limits."""
        parts = result if isinstance(result, tuple | list) else (result,)
        for part in parts:
            if isinstance(part, Tensor):
                fits(list(part.shape))
                self._values += part.numel()
        if self._values > MAX_ALL_VALUES:
            raise too_large()
        return result


def value_of(value: Value | None) -> Tensor:
    """The tensor of a constant; else a tensor of the same shape and type, possibly on the meta device."""
    tensor = value.meta["value"] if isinstance(value, fx.Node) else value
    if not isinstance(tensor, Tensor):
        raise TeacherRejected("A sequence stands where a tensor is needed.", code="unsupported_op")
    return tensor


def _value(argument: Any) -> Any:
    return argument.meta["value"] if isinstance(argument, fx.Node) else argument


def _without_memory(argument: Any) -> Any:
    if not isinstance(argument, Tensor):
        return argument
    is_shape = not argument.is_floating_point() and argument.dim() <= 1 and argument.numel() <= MAX_SHAPE
    return argument if is_shape else argument.to("meta")
