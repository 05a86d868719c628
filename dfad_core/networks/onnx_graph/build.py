"""Construction of a differentiable network from its description."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from dfad_core.contract.errors import TeacherRejected
from dfad_core.contract.own_network import ANY_BATCH
from dfad_core.networks.onnx_graph.emitter import Emitter, Value, value_of
from dfad_core.networks.onnx_graph.operators import OPERATORS
from dfad_core.networks.onnx_graph.spec import Graph, Node

SHAPE_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
"""Errors of PyTorch for sizes or types that do not fit each other."""


MIN_PROBABILITY = 1e-30
"""Least probability whose logarithm is taken; float32 has less, and 0."""


@dataclass(frozen=True)
class Built:
    """A network, and what it was made of."""

    module: fx.GraphModule
    """In eval mode: images (B, C, H, W) to logits (B, classes)."""
    one_logit: bool
    """Whether the graph gives one number z for an image; the logits are [0, z]."""


def build_graph(graph: Graph, tensors: Mapping[str, Tensor], shape: tuple[int, int, int]) -> Built:
    """The network of `graph` for images of `shape` (C, H, W). It is built, but not run.

    Outputs with sizes of 1 beside batch and classes become (B, classes), and one logit z becomes [0, z]: the
    same probabilities. Raises TeacherRejected: `unsupported_op` with the operator's name, `memory_limit`,
    `structure_limit`, `corrupt_file` where sizes do not fit, `fixed_batch` where they fit one batch alone,
    `squeezed_batch`, and `architecture_mismatch` where the result is no row of logits.
    """
    graph.check()
    reshapes = None if graph.batch is None else _pass(Emitter(shape, graph.batch), graph, tensors, None)[1]
    emitter = Emitter(shape, weights=tensors.values())
    try:
        output, _ = _pass(emitter, graph, tensors, reshapes)
    except TeacherRejected as error:
        if reshapes is None or error.code != "corrupt_file":
            raise
        raise TeacherRejected(
            f"The graph takes batches of {graph.batch} alone; {ANY_BATCH}",
            code="fixed_batch",
        ) from error
    logits = value_of(output)
    sides = list(logits.shape[1:])
    classes = prod(sides)
    if logits.shape[:1] != (emitter.batch,) or classes < 1 or max(sides, default=1) != classes:
        raise TeacherRejected(
            f"The graph gives {sides} for an image, not a row of logits for its classes.{_kind(sides)}",
            code="architecture_mismatch",
        )
    if len(sides) != 1 and isinstance(output, fx.Node):
        output = emitter.call(torch.reshape, output, [-1, classes])
    one_logit = classes == 1
    if graph.probabilities:
        output = emitter.call(_logit if one_logit else _log, output)
    if one_logit:
        output = emitter.call(F.pad, output, [1, 0])
    return Built(emitter.finish(output), one_logit)


def _kind(sides: list[int]) -> str:
    """The kind of network that gives such results, as a sentence; "" where none is known."""
    if len(sides) == 3:
        return " It seems to label each place of the image; only classifiers of whole images are read."
    if len(sides) == 2:
        return " It seems to detect objects, or to give features; only classifiers of whole images are read."
    return ""


def _log(p_BK: Tensor) -> Tensor:
    return p_BK.clamp_min(MIN_PROBABILITY).log()


def _logit(p_B1: Tensor) -> Tensor:
    return torch.logit(p_B1, 1e-7)


ReshapeResult = tuple[list[int], list[int]]
"""Shapes of a Reshape's input and output at the graph's fixed batch size."""


def _pass(
    emitter: Emitter,
    graph: Graph,
    tensors: Mapping[str, Tensor],
    reshapes: Mapping[int, ReshapeResult] | None,
) -> tuple[Value, dict[int, ReshapeResult]]:
    """The output, and the result of every Reshape.

    In a graph with a fixed batch size, the constant shapes of Reshape are wrong for any other batch size;
    `reshapes` are the results at that size, which replace them.
    """
    values: dict[str, Value | None] = {**tensors, graph.input: emitter.input, "": None}
    results_of_reshape: dict[int, ReshapeResult] = {}
    for number, node in enumerate(graph.nodes):
        context = {
            "opset": graph.opset,
            "batch": graph.batch,
            "outputs": len(node.outputs),
            "reshape_result": (reshapes or {}).get(number),
        }
        results = _results(emitter, node, values, context)
        if node.op == "Reshape" and isinstance(values[node.inputs[1]], Tensor):
            given = value_of(values[node.inputs[0]])
            results_of_reshape[number] = list(given.shape), list(value_of(results[0]).shape)
        values.update(zip(node.outputs, results, strict=False))
    output = values.get(graph.output)
    if output is None:
        raise TeacherRejected("The graph's output is not computed.", code="corrupt_file")
    return output, results_of_reshape


def _results(
    emitter: Emitter, node: Node, values: Mapping[str, Value | None], context: Mapping[str, Any]
) -> list[Value | None]:
    operator = OPERATORS.get(node.op)
    if operator is None:
        raise TeacherRejected(
            f"The operator {node.op[:64]} is not supported.", code="unsupported_op", param=node.op
        )
    unknown = next((name for name in node.inputs if name not in values), None)
    if unknown is not None:
        raise TeacherRejected(f"An input of {node.op} is not computed.", code="corrupt_file", param=node.op)
    inputs = [values[name] for name in node.inputs]
    while inputs and inputs[-1] is None:
        inputs.pop()
    try:
        result = operator(emitter, inputs, {**node.attributes, **context})
    except SHAPE_ERRORS as error:
        if isinstance(error, TeacherRejected):
            raise
        raise TeacherRejected(
            f"The operator {node.op} does not fit what it is given.", code="corrupt_file", param=node.op
        ) from error
    return list(result) if isinstance(result, list | tuple) else [result]
