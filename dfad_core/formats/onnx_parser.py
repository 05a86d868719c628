"""Parsing ONNX files as data: no code of the file runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from dfad_core.contract.errors import TeacherRejected
from dfad_core.formats.onnx_file import open_onnx
from dfad_core.formats.onnx_output import chosen_output, ending_of
from dfad_core.networks.onnx_graph.spec import MAX_NODES, Graph, Node

if TYPE_CHECKING:
    import onnx

MAX_INTEGERS = 2**20
"""Largest number of values in a constant that is not a weight."""
STANDARD = ("", "ai.onnx")
OPSETS = range(7, 31)
Layout = Literal["BCHW", "BHWC", "BHW"]


@dataclass
class OnnxNetwork:
    """The contents of an ONNX file, as far as its logits need them."""

    graph: Graph
    tensors: dict[str, Tensor]
    shape: tuple[int | None, int | None, int | None]
    """(C, H, W) of an image; None where the file does not fix a size."""
    layout: Layout
    """Order of the dimensions that the file itself takes; `graph` takes BCHW."""
    image_type: torch.dtype
    """Type of the images that the file itself takes; `graph` takes float32."""
    output: str
    """Name of the file's own output."""
    ending: str | None
    """Last operator of the file, which `graph` leaves out: `Softmax`, `LogSoftmax`, `Sigmoid` or None."""
    quantised: bool
    """Whether the file rounds to eight bits, which `graph` leaves out."""
    file: Path | bytes
    """What onnxruntime can run: the file itself, or a model of what is needed of it."""
    notes: list[str] = field(default_factory=list)
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What the exporter wrote beside the graph, such as names of classes."""


def read_onnx(path: Path, output: str | None = None) -> OnnxNetwork:
    """Parse the file at `path`, as far as its `output` needs it; None: the one with the logits.

    Raises TeacherRejected: the codes of `open_onnx`, `chosen_output` and `ending_of`, `unsupported_op`,
    `quantised_model`, `tensor_layout`, `structure_limit`, `nonfinite_weights`, `architecture_mismatch` for a
    graph that takes no images, `missing_extra` where the onnx package is not installed.
    """
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        text = "ONNX files need the package onnx, which is not installed here."
        raise TeacherRejected(text, code="missing_extra") from error
    model, as_it_is = open_onnx(path)
    if model.functions:
        model = _inline_functions(model)
    return _read(model, output, path if as_it_is else None)


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


def _read(model: onnx.ModelProto, wanted: str | None, path: Path | None) -> OnnxNetwork:
    graph = model.graph
    if len(graph.node) > MAX_NODES:
        raise _too_many_nodes()
    if graph.sparse_initializer:
        raise TeacherRejected("The graph has sparse tensors.", code="tensor_layout")
    opset = _opset(model)
    output, notes = chosen_output(graph, wanted)
    whole = _leave_out_the_rest(graph, output)
    tensors = {t.name: tensor_of(t) for t in graph.initializer}
    nodes: list[Node] = []
    for node in graph.node:
        _check_operator(node)
        if node.op_type == "Constant":
            tensors[node.output[0]] = _constant(node)
        else:
            nodes.append(Node(node.op_type, tuple(node.input), tuple(node.output), _attributes(node)))
    inputs = [i for i in graph.input if i.name not in tensors]
    if len(inputs) != 1:
        names = f": {', '.join(i.name for i in inputs)[:200]}" if inputs else ""
        raise TeacherRejected(
            f"The graph must take one tensor of images, and takes {len(inputs)}{names}.",
            code="architecture_mismatch",
        )
    network = _network(inputs[0], output, nodes, tensors, opset)
    network.notes[:0] = notes
    network.metadata = {entry.key: entry.value for entry in model.metadata_props}
    if path is not None and whole:
        network.file = path
    else:
        network.file = _serialised(model)
    return network


def _opset(model: onnx.ModelProto) -> int:
    """Version of the standard operators. Raises TeacherRejected (`unsupported_op`)."""
    versions = {str(o.domain): int(o.version) for o in model.opset_import}
    opset = max((versions[domain] for domain in STANDARD if domain in versions), default=None)
    if opset is None:
        others = ", ".join(sorted(versions))[:100]
        text = f"The file has operators of {others} alone: it is" if others else "The file is"
        raise TeacherRejected(
            f"{text} no network in ONNX. Export the network itself, with standard operators.",
            code="unsupported_op",
        )
    if opset not in OPSETS:
        way = (
            "convert it with onnx.version_converter" if opset < OPSETS.start else "export it with a lower one"
        )
        text = f"ONNX operator set {opset} is not supported ({OPSETS.start} to {OPSETS[-1]} are): {way}."
        raise TeacherRejected(text, code="unsupported_op")
    return opset


def _leave_out_the_rest(graph: onnx.GraphProto, output: str) -> bool:
    """Remove from `graph` what the value `output` does not need; False where something was removed."""
    import onnx

    needed, nodes, others = {output}, [], set()
    for node in reversed(graph.node):
        if any(name in needed for name in node.output if name):
            nodes.append(node)
            needed.update(node.input)
        else:
            others.update(node.input)
    inputs = [i for i in graph.input if i.name in needed] or list(graph.input)
    others -= needed
    if [o.name for o in graph.output] == [output] and not others and len(inputs) == len(graph.input):
        return True
    own = next((o for o in graph.output if o.name == output), None)
    kept = onnx.GraphProto(name=graph.name)
    kept.node.extend(reversed(nodes))
    kept.input.extend(inputs)
    kept.initializer.extend(t for t in graph.initializer if t.name not in others)
    kept.output.append(own or onnx.helper.make_empty_tensor_value_info(output))
    graph.CopyFrom(kept)
    return False


def _serialised(model: onnx.ModelProto) -> bytes:
    """The model as a file; empty where it is larger than such a file can be."""
    from google.protobuf.message import EncodeError

    try:
        content: bytes = model.SerializeToString()
    except (EncodeError, ValueError):
        return b""
    return content


FOR_INTEGERS = ("QLinear", "QGemm", "QAttention", "DynamicQuantize", "ConvInteger", "MatMulInteger")
"""Beginnings of the names of operators that compute with eight-bit integers."""


def _check_operator(node: onnx.NodeProto) -> None:
    """Raise TeacherRejected for an operator that no table could have."""
    name = f"{node.domain}.{node.op_type}" if node.domain not in STANDARD else node.op_type
    name = name[:96]
    if node.op_type.startswith(FOR_INTEGERS):
        text = (
            f"The model computes with eight-bit integers ({name}): upload the float model it was made from."
        )
        raise TeacherRejected(text, code="quantised_model", param=name)
    if node.domain == "com.microsoft":
        text = f"The operator {name} is ONNX Runtime's own: upload the model before it was optimised."
        raise TeacherRejected(text, code="unsupported_op", param=name)
    if node.domain not in STANDARD:
        raise TeacherRejected(f"The operator {name} is not supported.", code="unsupported_op", param=name)


def _network(
    images: onnx.ValueInfoProto, output: str, nodes: list[Node], tensors: dict[str, Tensor], opset: int
) -> OnnxNetwork:
    dims = [d.dim_value if d.HasField("dim_value") else None for d in images.type.tensor_type.shape.dim]
    image_type = _image_type(images)
    if len(dims) not in (3, 4):
        text = f"The graph takes tensors of {len(dims)} dimensions, not images (B, C, H, W)."
        raise TeacherRejected(text, code="architecture_mismatch")
    batch, *shape = (size if size is not None and size > 0 else None for size in dims)
    notes = []
    name = images.name
    layout: Layout = "BCHW"
    if len(shape) == 2:
        shape, layout = [1, *shape], "BHW"
        nodes.insert(0, Node("Squeeze", ("with channel",), (name,), {"axes": [1]}))
        name = "with channel"
        notes.append("takes images without a channel; the teacher here takes them with one")
    elif shape[2] in (1, 3) and shape[0] not in (1, 3):  # channels last, as TensorFlow writes
        shape, layout = [shape[2], shape[0], shape[1]], "BHWC"
        nodes.insert(0, Node("Transpose", ("channels first",), (name,), {"perm": [0, 2, 3, 1]}))
        name = "channels first"
        notes.append("takes channels last; the teacher here takes them first")
    if not image_type.is_floating_point:
        notes.append(f"takes pixels as whole numbers ({str(image_type).removeprefix('torch.')})")
    ending, nodes = ending_of(nodes, output)
    if ending is not None:
        notes.append(f"ended with {ending}, which is left out: a student learns from logits")
    quantised = any(node.op == "DequantizeLinear" for node in nodes)
    if quantised:
        notes.append("read as a float network: its rounding to eight bits is left out")
    inputs = {n for node in nodes for n in node.inputs}
    graph = Graph(name, output, tuple(nodes), opset, batch)
    weights = {key: tensor for key, tensor in tensors.items() if key in inputs or key == output}
    return OnnxNetwork(
        graph,
        weights,
        (shape[0], shape[1], shape[2]),
        layout,
        image_type,
        output,
        ending,
        quantised,
        b"",
        notes,
    )


def _image_type(images: onnx.ValueInfoProto) -> torch.dtype:
    """Raises TeacherRejected (`architecture_mismatch`) for a type that no image has."""
    import onnx

    kinds = onnx.TensorProto
    known: dict[int, torch.dtype] = {
        kinds.FLOAT: torch.float32, kinds.FLOAT16: torch.float16, kinds.DOUBLE: torch.float64,
        kinds.UINT8: torch.uint8, kinds.INT8: torch.int8, kinds.INT32: torch.int32, kinds.INT64: torch.int64,
        kinds.BFLOAT16: torch.bfloat16, kinds.UNDEFINED: torch.float32,
    }  # fmt: skip
    kind = images.type.tensor_type.elem_type
    if kind == kinds.STRING:
        text = "The graph takes encoded image files or text. Export it from the decoded pixels on."
        raise TeacherRejected(text, code="architecture_mismatch")
    if kind not in known:
        raise TeacherRejected("The graph's input has a type that no image has.", code="architecture_mismatch")
    return known[kind]


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
