"""The output of an ONNX graph that is taken for its logits, and what the graph does to them at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dfad_core.contract.errors import TeacherRejected
from dfad_core.networks.onnx_graph.spec import Node

if TYPE_CHECKING:
    import onnx

USUAL = "logits"
PASSED_BY = ("Identity", "Cast", "CastLike", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Dropout")
"""Operators behind a Softmax that leave its values as they are."""
ENDINGS = ("Softmax", "LogSoftmax", "Sigmoid")


def chosen_output(graph: onnx.GraphProto, wanted: str | None) -> tuple[str, list[str]]:
    """Name of the value that holds the logits, and notes: the output `wanted`; else the one called logits;
    else the only one with a float for each of several classes.

    Raises TeacherRejected: `unknown_output`, `output_required` where several could be meant, and
    `architecture_mismatch` where none could.
    """
    outputs = list(graph.output)
    listed = ", ".join(_described(o) for o in outputs[:20])
    if wanted is not None:
        found = [o for o in outputs if o.name == wanted]
        if not found:
            text = f"The graph has no output {wanted[:64]!r}. It has: {listed}."
            raise TeacherRejected(text, code="unknown_output", param="output")
    elif len(outputs) == 1:
        found = outputs
    else:
        found = [o for o in outputs if o.name == USUAL] or [o for o in outputs if _may_be_logits(graph, o)]
        if not found:
            found = [o for o in outputs if _is_float(o)]
            found = found if len(found) == 1 else []
    if not found:
        text = f"No output of the graph is a row of logits: it has {listed or 'none'}. Only classifiers do."
        raise TeacherRejected(text, code="architecture_mismatch", param="output")
    if len(found) > 1:
        text = (
            f"The graph has several outputs, and each of {', '.join(o.name for o in found)[:300]} could be "
            f"its logits. It has: {listed}. Name the one: --teacher-output NAME (`output` of the teacher)."
        )
        raise TeacherRejected(text, code="output_required", param="output")
    name = found[0].name
    ignored = [o.name for o in outputs if o.name != name]
    notes = [f"the output {name} is taken, ignored: {', '.join(ignored)[:200]}"] if ignored else []
    mapped = _under_zip_map(graph, name)
    return mapped or name, notes


def _is_float(output: onnx.ValueInfoProto) -> bool:
    import onnx

    kinds = onnx.TensorProto
    floats = (kinds.UNDEFINED, kinds.FLOAT, kinds.FLOAT16, kinds.DOUBLE, kinds.BFLOAT16)
    return output.type.HasField("tensor_type") and output.type.tensor_type.elem_type in floats


def _may_be_logits(graph: onnx.GraphProto, output: onnx.ValueInfoProto) -> bool:
    """Whether it may be (B, K) with K >= 2, or that with sizes of 1."""
    if _under_zip_map(graph, output.name) is not None:
        return True
    if not _is_float(output):
        return False
    if not output.type.tensor_type.HasField("shape"):
        return True
    dims = output.type.tensor_type.shape.dim
    sides = [d.dim_value if d.HasField("dim_value") else None for d in dims][1:]
    return bool(sides) and sum(side != 1 for side in sides) == 1


def _under_zip_map(graph: onnx.GraphProto, name: str) -> str | None:
    """The probabilities that a ZipMap turns into dictionaries; None where the output is none of it."""
    for node in graph.node:
        if node.op_type == "ZipMap" and node.domain == "ai.onnx.ml" and list(node.output) == [name]:
            return str(node.input[0]) if node.input else None
    return None


def _described(output: onnx.ValueInfoProto) -> str:
    """Its name and shape: "boxes (n, 100, 4)"."""
    dims = output.type.tensor_type.shape.dim if output.type.HasField("tensor_type") else ()
    sides = [str(d.dim_value) if d.HasField("dim_value") else (d.dim_param or "?")[:32] for d in dims]
    return output.name[:64] + (f" ({', '.join(sides)})" if sides else "")


def ending_of(nodes: Sequence[Node], output: str) -> tuple[str | None, list[Node]]:
    """The Softmax, LogSoftmax or Sigmoid that makes probabilities of the logits, and the nodes without it.

    It is looked for behind operators that leave its values as they are. None where there is none.
    """
    node_of = {result: number for number, node in enumerate(nodes) for result in node.outputs}
    name, changed = output, list(nodes)
    for _ in nodes:
        number = node_of.get(name)
        if number is None:
            break
        node = nodes[number]
        if node.op in ENDINGS and node.inputs:
            changed[number] = replace(node, op="Identity", attributes={})
            return node.op, changed
        if node.op not in PASSED_BY or not node.inputs:
            break
        name = node.inputs[0]
    return None, changed
