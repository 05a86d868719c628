"""From a description to a network that can be differentiated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, fx

from dfad_core.contract.errors import OneLogitRejected, TeacherRejected
from dfad_core.networks.onnx_graph.emitter import Emitter, Value, value_of
from dfad_core.networks.onnx_graph.operators import OPERATORS
from dfad_core.networks.onnx_graph.spec import Graph, Node

BROKEN = (
    ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
"""What PyTorch raises where sizes or types do not fit each other."""


def build_graph(graph: Graph, tensors: Mapping[str, Tensor], shape: tuple[int, int, int]) -> fx.GraphModule:
    """The network, in eval mode: images (B, C, H, W) to logits (B, classes). Nothing of it is run.

    Raises TeacherRejected: `unsupported_op` with the operator's name, `memory_limit`, `structure_limit`,
    `corrupt_file` where sizes do not fit, `fixed_batch` where they fit one batch alone, `one_logit` where the
    result is one number for an image, and `architecture_mismatch` where it is no row of logits.
    """
    graph.check()
    written = None if graph.batch is None else _pass(Emitter(shape, graph.batch), graph, tensors, None)[1]
    emitter = Emitter(shape)
    try:
        output, _ = _pass(emitter, graph, tensors, written)
    except TeacherRejected as error:
        if written is None or error.code != "corrupt_file":
            raise
        raise TeacherRejected(
            f"The graph takes batches of {graph.batch} alone; export it with a dynamic batch dimension.",
            code="fixed_batch",
        ) from error
    found = value_of(output)
    if found.shape[:1] == (emitter.batch,) and found.numel() == emitter.batch and found.is_floating_point():
        raise OneLogitRejected
    if found.dim() != 2 or found.shape[0] != emitter.batch or found.shape[1] < 2:
        raise TeacherRejected(
            f"The graph gives {list(found.shape[1:])} for an image, not a row of logits for its classes.",
            code="architecture_mismatch",
        )
    return emitter.finish(output)


Written = tuple[list[int], int]
"""The shape that a Reshape gives at the batch the graph was written for, and for how many values."""


def _pass(
    emitter: Emitter, graph: Graph, tensors: Mapping[str, Tensor], written: Mapping[int, Written] | None
) -> tuple[Value, dict[int, Written]]:
    """The output, and what every Reshape gave: for any batch but the written one, the numbers in it lie."""
    values: dict[str, Value | None] = {**tensors, graph.input: emitter.input, "": None}
    reshaped: dict[int, Written] = {}
    for number, node in enumerate(graph.nodes):
        about = {"opset": graph.opset, "written": (written or {}).get(number), "outputs": len(node.outputs)}
        about["batch"] = graph.batch
        results = _results(emitter, node, values, about)
        if node.op == "Reshape" and isinstance(values[node.inputs[1]], Tensor):
            reshaped[number] = list(value_of(results[0]).shape), value_of(results[0]).numel()
        values.update(zip(node.outputs, results, strict=False))
    output = values.get(graph.output)
    if output is None:
        raise TeacherRejected("The graph's output is not computed.", code="corrupt_file")
    return output, reshaped


def _results(
    emitter: Emitter, node: Node, values: Mapping[str, Value | None], about: Mapping[str, Any]
) -> list[Value | None]:
    operator = OPERATORS.get(node.op)
    if operator is None:
        raise TeacherRejected(
            f"The operator {node.op[:64]} is not read.", code="unsupported_op", param=node.op
        )
    unknown = next((name for name in node.inputs if name not in values), None)
    if unknown is not None:
        raise TeacherRejected(f"An input of {node.op} is not computed.", code="corrupt_file", param=node.op)
    given = [values[name] for name in node.inputs]
    while given and given[-1] is None:
        given.pop()
    try:
        result = operator(emitter, given, {**node.attributes, **about})
    except BROKEN as error:
        if isinstance(error, TeacherRejected):
            raise
        raise TeacherRejected(
            f"The operator {node.op} does not fit what it is given.", code="corrupt_file", param=node.op
        ) from error
    return list(result) if isinstance(result, list | tuple) else [result]
