"""Construction of a differentiable network from its description."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, fx

from dfad_core.contract.errors import OneLogitRejected, TeacherRejected
from dfad_core.networks.onnx_graph.emitter import Emitter, Value, value_of
from dfad_core.networks.onnx_graph.operators import OPERATORS
from dfad_core.networks.onnx_graph.spec import Graph, Node

SHAPE_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
"""Errors of PyTorch for sizes or types that do not fit each other."""


def build_graph(graph: Graph, tensors: Mapping[str, Tensor], shape: tuple[int, int, int]) -> fx.GraphModule:
    """The network, in eval mode: images (B, C, H, W) to logits (B, classes). It is built, but not run.

    Raises TeacherRejected: `unsupported_op` with the operator's name, `memory_limit`, `structure_limit`,
    `corrupt_file` where sizes do not fit, `fixed_batch` where they fit one batch alone, `one_logit` where the
    result is one number for an image, and `architecture_mismatch` where it is no row of logits.
    """
    graph.check()
    reshapes = None if graph.batch is None else _pass(Emitter(shape, graph.batch), graph, tensors, None)[1]
    emitter = Emitter(shape)
    try:
        output, _ = _pass(emitter, graph, tensors, reshapes)
    except TeacherRejected as error:
        if reshapes is None or error.code != "corrupt_file":
            raise
        raise TeacherRejected(
            f"The graph takes batches of {graph.batch} alone; export it with a dynamic batch dimension.",
            code="fixed_batch",
        ) from error
    logits = value_of(output)
    if (
        logits.shape[:1] == (emitter.batch,)
        and logits.numel() == emitter.batch
        and logits.is_floating_point()
    ):
        raise OneLogitRejected
    if logits.dim() != 2 or logits.shape[0] != emitter.batch or logits.shape[1] < 2:
        raise TeacherRejected(
            f"The graph gives {list(logits.shape[1:])} for an image, not a row of logits for its classes.",
            code="architecture_mismatch",
        )
    return emitter.finish(output)


ReshapeResult = tuple[list[int], int]
"""Output shape of a Reshape at the graph's fixed batch size, and its number of values."""


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
            results_of_reshape[number] = list(value_of(results[0]).shape), value_of(results[0]).numel()
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
