"""Parsing ONNX files as data: no code of the file runs, and no other file is opened."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dfad_core.contract.errors import TeacherRejected
from dfad_core.networks.onnx_graph.spec import MAX_NODES, Graph, Node

if TYPE_CHECKING:
    import onnx

MAX_TENSORS = 100_000
MAX_INTEGERS = 2**20
"""Largest number of values in a constant that is not a weight."""
STANDARD = ("", "ai.onnx")
SOFTMAX = ("Softmax", "LogSoftmax")


@dataclass
class OnnxNetwork:
    """The contents of an ONNX file."""

    graph: Graph
    tensors: dict[str, Tensor]
    shape: tuple[int | None, int | None, int | None]
    """(C, H, W) of an image; None where the file does not fix a size."""
    output: str
    """Name of the file's own output."""
    softmax: str | None
    """Last operator of the file, which `graph` leaves out: `Softmax`, `LogSoftmax` or None."""
    notes: list[str] = field(default_factory=list)


def read_onnx(path: Path) -> OnnxNetwork:
    """Parse the file at `path`.

    Raises TeacherRejected: `corrupt_file`, `external_data`, `unsupported_op`, `tensor_layout`,
    `structure_limit`, `nonfinite_weights`, `missing_extra` where the onnx package is not installed.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        text = "ONNX files need the package onnx, which is not installed here."
        raise TeacherRejected(text, code="missing_extra") from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except (DecodeError, ValueError) as error:
        raise TeacherRejected("The ONNX file is damaged or incomplete.", code="corrupt_file") from error
    _refuse_external(model)
    if model.functions:
        model = _inline_functions(model)
    return _read(model)


def _refuse_external(model: onnx.ModelProto) -> None:
    """Raise TeacherRejected for weights in other files, before any library opens them."""
    import onnx

    for tensor in _all_tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise TeacherRejected(
                "The ONNX file keeps weights in other files; export it as one file.", code="external_data"
            )


def _all_tensors(model: onnx.ModelProto) -> list[Any]:
    tensors = list(model.graph.initializer)
    graphs: list[Any] = [model.graph, *model.functions]
    while graphs:
        graph = graphs.pop()
        tensors += getattr(graph, "initializer", [])
        for node in graph.node:
            for attribute in node.attribute:
                tensors += [attribute.t, *attribute.tensors]
                graphs += [attribute.g, *attribute.graphs] if attribute.HasField("g") else attribute.graphs
        if len(tensors) > MAX_TENSORS or len(graphs) > MAX_NODES:
            raise TeacherRejected(f"The graph has more than {MAX_TENSORS} tensors.", code="structure_limit")
    return tensors


def _too_many_nodes() -> TeacherRejected:
    return TeacherRejected(f"The graph has more than {MAX_NODES} nodes.", code="structure_limit")


def _inline_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the bodies of its own functions in place of their calls."""
    import onnx.inliner

    calls = sum(len(f.node) for f in model.functions) * max(len(model.graph.node), 1)
    if calls > MAX_NODES**2 // 1000 or len(model.functions) > 1000:
        raise _too_many_nodes()
    try:
        return onnx.inliner.inline_local_functions(model)
    except Exception as error:  # the library's C++ raises errors of any type
        raise TeacherRejected("The ONNX file's functions cannot be read.", code="corrupt_file") from error


def _read(model: onnx.ModelProto) -> OnnxNetwork:
    graph = model.graph
    if len(graph.node) > MAX_NODES:
        raise _too_many_nodes()
    if graph.sparse_initializer:
        raise TeacherRejected("The graph has sparse tensors.", code="tensor_layout")
    opset = max((o.version for o in model.opset_import if o.domain in STANDARD), default=0)
    if not 7 <= opset <= 30:
        text = f"ONNX operator set {opset} is not supported (7 to 30 are)."
        raise TeacherRejected(text, code="unsupported_op")
    tensors = {t.name: tensor_of(t) for t in graph.initializer}
    nodes: list[Node] = []
    for node in graph.node:
        if node.domain not in STANDARD:
            name = f"{node.domain}.{node.op_type}"[:96]
            raise TeacherRejected(f"The operator {name} is not supported.", code="unsupported_op", param=name)
        if node.op_type == "Constant":
            tensors[node.output[0]] = _constant(node)
        else:
            nodes.append(Node(node.op_type, tuple(node.input), tuple(node.output), _attributes(node)))
    inputs = [i for i in graph.input if i.name not in tensors]
    if len(inputs) != 1 or not graph.output:
        raise TeacherRejected(
            "The graph must take one tensor of images and give logits.", code="architecture_mismatch"
        )
    return _network(inputs[0], [o.name for o in graph.output], nodes, tensors, opset)


def _network(
    images: onnx.ValueInfoProto, outputs: list[str], nodes: list[Node], tensors: dict[str, Tensor], opset: int
) -> OnnxNetwork:
    dims = [d.dim_value if d.HasField("dim_value") else None for d in images.type.tensor_type.shape.dim]
    if len(dims) != 4:
        text = f"The graph takes tensors of {len(dims)} dimensions, not images (B, C, H, W)."
        raise TeacherRejected(text, code="architecture_mismatch")
    batch, *shape = (size if size is not None and size > 0 else None for size in dims)
    notes = []
    name = images.name
    if shape[2] in (1, 3) and shape[0] not in (1, 3):  # channels last, as TensorFlow writes
        shape = [shape[2], shape[0], shape[1]]
        nodes.insert(0, Node("Transpose", ("channels first",), (name,), {"perm": [0, 2, 3, 1]}))
        name = "channels first"
        notes.append("takes channels last; the teacher here takes them first")
    output = "logits" if "logits" in outputs else outputs[0]
    node_of = {result: node for node in nodes for result in node.outputs}
    file_output, softmax = output, None
    if output in node_of and node_of[output].op in SOFTMAX:
        softmax, output = node_of[output].op, node_of[output].inputs[0]
        notes.append(f"ended with {softmax}, which is left out: a student learns from logits")
    inputs = {n for node in nodes for n in node.inputs}
    graph = Graph(name, output, tuple(nodes), opset, batch)
    weights = {key: tensor for key, tensor in tensors.items() if key in inputs or key == output}
    return OnnxNetwork(graph, weights, (shape[0], shape[1], shape[2]), file_output, softmax, notes)


def _constant(node: onnx.NodeProto) -> Tensor:
    attribute = node.attribute[0] if node.attribute else None
    kinds = {
        "value_float": lambda a: torch.tensor(a.f),
        "value_floats": lambda a: torch.tensor(list(a.floats)),
        "value_int": lambda a: torch.tensor(a.i),
        "value_ints": lambda a: torch.tensor(list(a.ints), dtype=torch.int64),
        "value": lambda a: tensor_of(a.t),
    }
    if attribute is None or attribute.name not in kinds:
        raise TeacherRejected("A constant has a type that is not supported.", code="unsupported_op")
    return kinds[attribute.name](attribute)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    import onnx

    kinds = onnx.AttributeProto
    values: dict[str, Any] = {}
    for a in node.attribute:
        if a.type in (kinds.FLOAT, kinds.INT):
            values[a.name] = a.f if a.type == kinds.FLOAT else a.i
        elif a.type in (kinds.FLOATS, kinds.INTS):
            values[a.name] = list(a.floats if a.type == kinds.FLOATS else a.ints)
        elif a.type == kinds.STRING:
            values[a.name] = a.s.decode("utf-8", "replace")[:4096]
        elif a.type == kinds.TENSOR and node.op_type == "ConstantOfShape":
            value = tensor_of(a.t)
            values["value"] = float(value.flatten()[0]) if value.numel() else 0.0
            values["integer"] = int(not value.is_floating_point())
        else:
            name = node.op_type[:64]
            raise TeacherRejected(
                f"The operator {name} contains a graph or a tensor, which is not supported.",
                code="unsupported_op",
                param=name,
            )
    return values


def tensor_of(proto: onnx.TensorProto) -> Tensor:
    """A tensor of the file: float32, int64 or bool. Raises TeacherRejected.

    Its dimensions are compared with the stored bytes before anything is allocated.
    """
    import onnx
    from onnx import numpy_helper

    kinds = onnx.TensorProto
    sizes: dict[int, int] = {
        kinds.FLOAT: 4, kinds.DOUBLE: 8, kinds.FLOAT16: 2, kinds.BFLOAT16: 2, kinds.INT64: 8, kinds.INT32: 4,
        kinds.INT16: 2, kinds.INT8: 1, kinds.UINT8: 1, kinds.BOOL: 1,
    }  # fmt: skip
    if proto.data_type not in sizes:
        text = "A tensor has a type that is not supported."
        raise TeacherRejected(text, code="tensor_layout", param=proto.name)
    if any(d < 0 for d in proto.dims) or len(proto.dims) > 8:
        raise TeacherRejected("A tensor has invalid dimensions.", code="corrupt_file", param=proto.name)
    stored = (
        len(proto.raw_data) / sizes[proto.data_type]
        if proto.HasField("raw_data")
        else max(len(proto.float_data), len(proto.int32_data), len(proto.int64_data), len(proto.double_data))
    )
    if prod(proto.dims) != stored:
        raise TeacherRejected(
            "A tensor does not have the bytes of its dimensions.", code="corrupt_file", param=proto.name
        )
    array = numpy_helper.to_array(proto)
    floating = proto.data_type in (kinds.FLOAT, kinds.DOUBLE, kinds.FLOAT16, kinds.BFLOAT16)
    if proto.data_type == kinds.BOOL:
        return torch.from_numpy(array.astype("bool").copy())
    tensor = torch.from_numpy(array.astype("float32" if floating else "int64").copy())
    if floating and not bool(torch.isfinite(tensor).all()):
        _allow_bounds(tensor, proto.name)
    return tensor


def _allow_bounds(tensor: Tensor, name: str) -> None:
    """Raise TeacherRejected for NaN, and for infinity in a weight; attention masks contain minus infinity."""
    if bool(torch.isnan(tensor).any()) or tensor.numel() > MAX_INTEGERS:
        raise TeacherRejected(
            f"{name} has values that are NaN or infinite in float32.", code="nonfinite_weights", param=name
        )
