"""The operators of ONNX that public image classifiers use, one a line.

Each function takes the graph under construction, the operator's inputs (None for an absent optional one) and
its attributes. Where versions of an operator differ, a present input wins over an attribute.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from dfad_core.contract.errors import TeacherRejected
from dfad_core.networks.onnx_graph import shapes
from dfad_core.networks.onnx_graph.emitter import BATCH, Emitter, Pieces, Value, fits, value_of
from dfad_core.networks.onnx_graph.layers import (
    Attributes,
    Inputs,
    average_pool,
    batch_norm,
    constant,
    conv,
    gemm,
    group_norm,
    layer_norm,
    matmul,
    max_pool,
    optional_input,
    unsupported,
)
from dfad_core.networks.onnx_graph.spec import MAX_ARITY

Operator = Callable[[Emitter, Inputs, Attributes], Any]

FLOATS = (1, 10, 11, 16)
"""ONNX's numbers of the real types; all are float32 here."""
BOOL = 9


def _on_one_device(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`function` with all its tensors on one device, since sizes are on the CPU and images may not be."""

    def same_device(*tensors: Tensor) -> Tensor:
        device = next((t.device for t in tensors if t.device.type != "cpu"), tensors[0].device)
        return function(*(t.to(device) for t in tensors))

    return same_device


def _divide(a: Tensor, b: Tensor) -> Tensor:
    whole = not (a.is_floating_point() or b.is_floating_point())
    return torch.div(a, b, rounding_mode="trunc") if whole else torch.div(a, b)


def _remainder(a: Tensor, b: Tensor, c_like: int) -> Tensor:
    return torch.fmod(a, b) if c_like else torch.remainder(a, b)


def _cast(x: Tensor, to: int) -> Tensor:
    return x.to(torch.float32 if to in FLOATS else torch.bool if to == BOOL else torch.int64)


def _mean(*tensors: Tensor) -> Tensor:
    return torch.stack(torch.broadcast_tensors(*tensors)).mean(0)  # type: ignore[no-untyped-call]


def _many(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    def fold(*tensors: Tensor) -> Tensor:
        result = tensors[0]
        for tensor in tensors[1:]:
            result = function(result, tensor)
        return result

    return fold


def _hard_sigmoid(x: Tensor, alpha: float, beta: float) -> Tensor:
    return (alpha * x + beta).clamp(0, 1)


def _prelu(x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x >= 0, x, slope * x)


def _lp_norm(x: Tensor, p: int, axis: int) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(x, p, axis, keepdim=True)
    return x / norm


def _clip(e: Emitter, i: Inputs, a: Attributes) -> Any:
    low, high = optional_input(i, 1), optional_input(i, 2)
    least = a.get("min") if low is None else _number("Clip", low)
    most = a.get("max") if high is None else _number("Clip", high)
    if least == 0 and most == 6:
        return e.call(F.relu6, i[0])
    if least == 0 and most is None:
        return e.call(F.relu, i[0])
    return e.call(torch.clamp, i[0], least, most)


def _number(op: str, value: Value) -> float:
    """A single constant number."""
    if not isinstance(value, Tensor) or value.numel() != 1:
        raise unsupported(op, "has a bound that is not constant")
    return float(value)


def _as_ints(value: Any) -> Any:
    """A constant list of integers as Python numbers; a value that depends on the input is unchanged."""
    return shapes.ints(value) if isinstance(value, Tensor) else value


def _axes(i: Inputs, a: Attributes, number: int = 1) -> Any:
    axes = optional_input(i, number)
    return _as_ints(axes) if axes is not None else a.get("axes")


def _squeeze(e: Emitter, i: Inputs, a: Attributes) -> Any:
    axes = _axes(i, a)
    x = value_of(i[0])
    batched = isinstance(i[0], fx.Node) and x.is_floating_point() and x.shape[:1] == (BATCH,)
    if batched and e.batch == BATCH and (axes is None or any(n % x.dim() == 0 for n in shapes.ints(axes))):
        raise TeacherRejected(
            "The network squeezes the batch away where it is one image. Write x.flatten(1) instead of "
            "x.squeeze(), or name the dimension, as in x.squeeze(-1), and export it again.",
            code="squeezed_batch",
            param="Squeeze",
        )
    return e.call(shapes.squeeze, i[0], axes)


def _range(e: Emitter, i: Inputs, _: Attributes) -> Any:
    """Constant bounds as numbers: tensors of real numbers are passed without their memory."""
    numbers = [n.item() if isinstance(n, Tensor) and n.numel() == 1 else n for n in i]
    return e.call(shapes.arange, *numbers, value_of(i[0]).dtype)


def _dequantize(e: Emitter, i: Inputs, a: Attributes) -> Any:
    """Integers of the file as the real numbers that they stand for; what is real already stays as it is."""
    if not isinstance(i[0], Tensor) or i[0].is_floating_point():
        return i[0]
    zero = optional_input(i, 2)
    return shapes.dequantized(
        i[0],
        constant("DequantizeLinear", i[1], "scale"),
        None if zero is None else constant("DequantizeLinear", zero, "zero point"),
        int(a.get("axis", 1)),
    )


def _reduce(function: Callable[..., Tensor]) -> Operator:
    def reduce(x: Tensor, axes: Any, keep: bool) -> Tensor:
        along = list(range(x.dim())) if axes is None else shapes.ints(axes)
        return function(x, along, keep)

    def operator(e: Emitter, i: Inputs, a: Attributes) -> Any:
        axes = _axes(i, a)
        if not axes and isinstance(axes, list | None) and a.get("noop_with_empty_axes", 0):
            return i[0]
        return e.call(reduce, i[0], axes or None, bool(a.get("keepdims", 1)))

    return operator


def _over(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A reduction of one axis, applied to several axes."""

    def over(x: Tensor, axes: Sequence[int], keep: bool) -> Tensor:
        for axis in sorted((a % x.dim() for a in axes), reverse=True):
            x = function(x, axis, keep)
        return x

    return over


def _softmax(function: Callable[..., Tensor]) -> Operator:
    def flat(x: Tensor, axis: int) -> Tensor:
        return function(shapes.flatten(x, axis), 1).reshape(x.shape)

    def operator(e: Emitter, i: Inputs, a: Attributes) -> Any:
        if a["opset"] < 13:  # before 13, all dimensions from the axis on counted as one
            return e.call(flat, i[0], int(a.get("axis", 1)))
        return e.call(function, i[0], int(a.get("axis", -1)))

    return operator


def _reshape(e: Emitter, i: Inputs, a: Attributes) -> Any:
    shape, result = _as_ints(i[1]), a["reshape_result"]
    if result is not None and isinstance(i[0], fx.Node):
        shape = (
            shapes.for_any_batch(list(value_of(i[0]).shape), result[0], result[1], a["batch"], e.batch)
            or shape
        )
    return e.call(shapes.reshape, i[0], shape, int(a.get("allowzero", 0)))


def _gather(e: Emitter, i: Inputs, a: Attributes) -> Any:
    """Gather. In a graph for one image, places in all of its numbers are places in those of each image: so
    PyTorch writes `as_strided`."""
    x, index, axis = i[0], i[1], int(a.get("axis", 0))
    values = value_of(x)
    one_image = a["batch"] == 1 and isinstance(x, fx.Node)
    one_image = one_image and values.dim() == 1 and values.is_floating_point()
    if one_image and isinstance(index, Tensor) and index.dim() > 1 and index.shape[0] == 1:
        numbers = values.numel() // e.batch
        if numbers * e.batch == values.numel() and 0 <= int(index.min()) <= int(index.max()) < numbers:
            return e.call(shapes.gather_from_each, x, index[0], numbers)
    return e.call(shapes.gather, x, index, axis)


def _gather_nd(e: Emitter, i: Inputs, a: Attributes) -> Any:
    depends_on_images = isinstance(i[0], fx.Node) and value_of(i[0]).is_floating_point()
    if int(a.get("batch_dims", 0)) or depends_on_images:
        raise unsupported("GatherND", "is supported for constants and sizes alone")
    return e.call(shapes.gather_nd, i[0], i[1])


def _scattered(op: str, i: Inputs, a: Attributes) -> Sequence[Value]:
    """The inputs, all constants, as masks are written: positions in images would be those of one batch."""
    if a.get("reduction", "none") != "none":
        raise unsupported(op, "is supported without a reduction alone")
    constants = [one for one in i if isinstance(one, Tensor)]
    if len(constants) != len(i):
        raise unsupported(op, "is supported for constants alone")
    return constants


def _scatter_elements(e: Emitter, i: Inputs, a: Attributes) -> Any:
    x, index, updates = _scattered("ScatterElements", i, a)
    return e.call(shapes.scatter_elements, x, index, updates, int(a.get("axis", 0)))


def _split_to_sequence(e: Emitter, i: Inputs, a: Attributes) -> Any:
    axis, length = int(a.get("axis", 0)), optional_input(i, 1)
    side = value_of(i[0]).shape[axis]
    if not isinstance(length, Tensor):
        raise unsupported("SplitToSequence", "is supported with constant lengths alone")
    piece = max(int(length), 1) if length.dim() == 0 else 0
    number = -(-side // piece) if piece else length.numel()
    if number > MAX_ARITY:
        raise unsupported("SplitToSequence", f"is supported for at most {MAX_ARITY} pieces")
    sizes = [min(piece, side - n * piece) for n in range(number)] if piece else _as_ints(length)
    return Pieces(e.parts(e.call(shapes.split, i[0], sizes, axis), number))


def _sequence_at(e: Emitter, i: Inputs, a: Attributes) -> Any:
    pieces: Any = i[0]
    position = int(constant("SequenceAt", optional_input(i, 1), "position"))
    if not isinstance(pieces, Pieces):
        raise unsupported("SequenceAt", "takes a sequence")
    return pieces.values[position]


def _cumulative_sum(e: Emitter, i: Inputs, a: Attributes) -> Any:
    if int(a.get("exclusive", 0)) or int(a.get("reverse", 0)):
        raise unsupported("CumSum", "is supported forwards alone, each number included")
    return e.call(torch.cumsum, i[0], int(constant("CumSum", optional_input(i, 1), "axis")))


def _resize(e: Emitter, i: Inputs, a: Attributes) -> Any:
    x = value_of(i[0])
    mode = {"nearest": "nearest", "linear": "bilinear", "cubic": "bicubic"}[a.get("mode", "nearest")]
    place = 1 if len(i) == 2 else 2
    scales, sizes = optional_input(i, place), optional_input(i, 3)
    if sizes is not None:
        size = [int(n) for n in value_of(sizes).tolist()][2:]
    else:
        factors = a.get("scales") or (scales.tolist() if isinstance(scales, Tensor) else None)
        if not factors:
            raise unsupported("Resize", "has a scale that is not constant")
        size = [int(side * f) for side, f in zip(x.shape[2:], factors[2:], strict=True)]
    corners = a.get("coordinate_transformation_mode") == "align_corners" if mode != "nearest" else None
    fits([*x.shape[:2], *size])
    return e.call(F.interpolate, i[0], size, None, mode, corners)


def _split(e: Emitter, i: Inputs, a: Attributes) -> Any:
    axis = int(a.get("axis", 0))
    sizes = _as_ints(optional_input(i, 1)) if optional_input(i, 1) is not None else a.get("split")
    if sizes is None:
        side, parts = value_of(i[0]).shape[axis], int(a["outputs"])
        piece = -(-side // parts)
        sizes = [min(piece, side - n * piece) for n in range(parts)]
    pieces = e.call(shapes.split, i[0], sizes, axis)
    return e.parts(pieces, int(a["outputs"]))


def _gelu(e: Emitter, i: Inputs, a: Attributes) -> Any:
    return e.call(F.gelu, i[0]) if a.get("approximate", "none") == "none" else e.call(_tanh_gelu, i[0])


def _tanh_gelu(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _slice(e: Emitter, i: Inputs, a: Attributes) -> Any:
    if len(i) == 1:
        rest = [a["starts"], a["ends"], a.get("axes"), None]
    else:
        rest = [_as_ints(optional_input(i, n)) for n in range(1, 5)]
    return e.call(shapes.strided, i[0], *rest)


def _pad(e: Emitter, i: Inputs, a: Attributes) -> Any:
    pads = _as_ints(optional_input(i, 1)) if optional_input(i, 1) is not None else a["pads"]
    value = optional_input(i, 2)
    number = a.get("value", 0.0) if value is None else _number("Pad", value)
    return e.call(shapes.pad, i[0], pads, a.get("mode", "constant"), number, _as_ints(optional_input(i, 3)))


def _col2im(e: Emitter, i: Inputs, a: Attributes) -> Any:
    pads = [int(n) for n in a.get("pads", [0, 0, 0, 0])]
    if len(pads) != 4 or pads[:2] != pads[2:] or value_of(i[0]).dim() != 3:
        raise unsupported("Col2Im", "is supported in two dimensions and with equal pads alone")
    window = (a.get("dilations", [1, 1]), pads[:2], a.get("strides", [1, 1]))
    return e.call(shapes.from_columns, i[0], _as_ints(i[1]), _as_ints(i[2]), window)


def _pool_all(function: Callable[..., Tensor]) -> Operator:
    return lambda e, i, a: e.call(function, i[0], list(range(2, value_of(i[0]).dim())), True)


def _instance_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return F.instance_norm(x, weight=weight, bias=bias, eps=eps)


def _einsum(*args: Any) -> Tensor:
    return torch.einsum(args[-1], *args[:-1])


OPERATORS: dict[str, Operator] = {
    # Layers.
    "Conv": conv,
    "Gemm": gemm,
    "MatMul": matmul,
    "BatchNormalization": batch_norm,
    "LayerNormalization": layer_norm,
    "GroupNormalization": group_norm,
    "InstanceNormalization": lambda e, i, a: e.call(_instance_norm, *i[:3], float(a.get("epsilon", 1e-5))),
    "LRN": lambda e, i, a: e.call(
        F.local_response_norm, i[0], a["size"], a.get("alpha", 1e-4), a.get("beta", 0.75), a.get("bias", 1.0)
    ),
    "LpNormalization": lambda e, i, a: e.call(_lp_norm, i[0], int(a.get("p", 2)), int(a.get("axis", -1))),
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": _pool_all(torch.mean),
    "GlobalMaxPool": _pool_all(torch.amax),
    "Dropout": lambda e, i, a: i[0],
    "Identity": lambda e, i, a: i[0],
    # Activations.
    "Relu": lambda e, i, a: e.call(F.relu, i[0]),
    "LeakyRelu": lambda e, i, a: e.call(F.leaky_relu, i[0], float(a.get("alpha", 0.01))),
    "PRelu": lambda e, i, a: e.call(_prelu, i[0], i[1]),
    "Elu": lambda e, i, a: e.call(F.elu, i[0], float(a.get("alpha", 1.0))),
    "Selu": lambda e, i, a: e.call(F.selu, i[0]),
    "Celu": lambda e, i, a: e.call(F.celu, i[0], float(a.get("alpha", 1.0))),
    "Gelu": _gelu,
    "Sigmoid": lambda e, i, a: e.call(torch.sigmoid, i[0]),
    "HardSigmoid": lambda e, i, a: e.call(
        _hard_sigmoid, i[0], float(a.get("alpha", 0.2)), float(a.get("beta", 0.5))
    ),
    "HardSwish": lambda e, i, a: e.call(F.hardswish, i[0]),
    "Mish": lambda e, i, a: e.call(F.mish, i[0]),
    "Softplus": lambda e, i, a: e.call(F.softplus, i[0]),
    "Softsign": lambda e, i, a: e.call(F.softsign, i[0]),
    "Tanh": lambda e, i, a: e.call(torch.tanh, i[0]),
    "Softmax": _softmax(torch.softmax),
    "LogSoftmax": _softmax(torch.log_softmax),
    "Clip": _clip,
    # Elementwise, one input.
    "Abs": lambda e, i, a: e.call(torch.abs, i[0]),
    "Neg": lambda e, i, a: e.call(torch.neg, i[0]),
    "Exp": lambda e, i, a: e.call(torch.exp, i[0]),
    "Log": lambda e, i, a: e.call(torch.log, i[0]),
    "Sqrt": lambda e, i, a: e.call(torch.sqrt, i[0]),
    "Reciprocal": lambda e, i, a: e.call(torch.reciprocal, i[0]),
    "Erf": lambda e, i, a: e.call(torch.erf, i[0]),
    "Sin": lambda e, i, a: e.call(torch.sin, i[0]),
    "Cos": lambda e, i, a: e.call(torch.cos, i[0]),
    "Floor": lambda e, i, a: e.call(torch.floor, i[0]),
    "Ceil": lambda e, i, a: e.call(torch.ceil, i[0]),
    "Sign": lambda e, i, a: e.call(torch.sign, i[0]),
    "IsNaN": lambda e, i, a: e.call(torch.isnan, i[0]),
    "Not": lambda e, i, a: e.call(torch.logical_not, i[0]),
    "Cast": lambda e, i, a: e.call(_cast, i[0], int(a["to"])),
    # A network of real numbers again: nothing is rounded.
    "QuantizeLinear": lambda e, i, a: i[0],
    "DequantizeLinear": _dequantize,
    "CastLike": lambda e, i, a: e.call(torch.Tensor.to, i[0], value_of(i[1]).dtype),
    # Several inputs.
    "Add": lambda e, i, a: e.call(_on_one_device(torch.add), *i),
    "Sub": lambda e, i, a: e.call(_on_one_device(torch.sub), *i),
    "Mul": lambda e, i, a: e.call(_on_one_device(torch.mul), *i),
    "Div": lambda e, i, a: e.call(_on_one_device(_divide), *i),
    "Pow": lambda e, i, a: e.call(_on_one_device(torch.pow), *i),
    "Mod": lambda e, i, a: e.call(_remainder, i[0], i[1], int(a.get("fmod", 0))),
    "Min": lambda e, i, a: e.call(_on_one_device(_many(torch.minimum)), *i),
    "Max": lambda e, i, a: e.call(_on_one_device(_many(torch.maximum)), *i),
    "Sum": lambda e, i, a: e.call(_on_one_device(_many(torch.add)), *i),
    "Mean": lambda e, i, a: e.call(_on_one_device(_mean), *i),
    "Equal": lambda e, i, a: e.call(_on_one_device(torch.eq), *i),
    "Greater": lambda e, i, a: e.call(_on_one_device(torch.gt), *i),
    "GreaterOrEqual": lambda e, i, a: e.call(_on_one_device(torch.ge), *i),
    "Less": lambda e, i, a: e.call(_on_one_device(torch.lt), *i),
    "LessOrEqual": lambda e, i, a: e.call(_on_one_device(torch.le), *i),
    "And": lambda e, i, a: e.call(_on_one_device(torch.logical_and), *i),
    "Or": lambda e, i, a: e.call(_on_one_device(torch.logical_or), *i),
    "Where": lambda e, i, a: e.call(_on_one_device(torch.where), *i),
    "Einsum": lambda e, i, a: e.call(_einsum, *i, str(a["equation"])),
    # Reductions.
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(torch.sum),
    "ReduceMax": _reduce(torch.amax),
    "ReduceMin": _reduce(torch.amin),
    "ReduceProd": _reduce(_over(torch.prod)),
    "ReduceL1": _reduce(lambda x, axes, keep: x.abs().sum(axes, keep)),
    "ReduceL2": _reduce(lambda x, axes, keep: x.square().sum(axes, keep).sqrt()),
    "ReduceSumSquare": _reduce(lambda x, axes, keep: x.square().sum(axes, keep)),
    "ReduceLogSumExp": _reduce(torch.logsumexp),
    "CumSum": _cumulative_sum,
    # Shapes.
    "Shape": lambda e, i, a: e.call(
        shapes.strided,
        e.call(shapes.shape_of, i[0]),
        [int(a.get("start", 0))],
        [int(a.get("end", 2**31))],
        [0],
        None,
    ),
    "Size": lambda e, i, a: e.call(shapes.size_of, i[0]),
    "Reshape": _reshape,
    "Flatten": lambda e, i, a: e.call(shapes.flatten, i[0], int(a.get("axis", 1))),
    "Transpose": lambda e, i, a: e.call(
        torch.permute, i[0], [int(n) for n in a.get("perm", range(value_of(i[0]).dim())[::-1])]
    ),
    "Squeeze": _squeeze,
    "Unsqueeze": lambda e, i, a: e.call(shapes.unsqueeze, i[0], _axes(i, a)),
    "Concat": lambda e, i, a: e.call(shapes.concat, list(i), int(a["axis"])),
    "Split": _split,
    "SplitToSequence": _split_to_sequence,
    "SequenceAt": _sequence_at,
    "Slice": _slice,
    "Gather": _gather,
    "GatherND": _gather_nd,
    "ScatterND": lambda e, i, a: e.call(shapes.scatter_nd, *_scattered("ScatterND", i, a)),
    "ScatterElements": _scatter_elements,
    "Expand": lambda e, i, a: e.call(shapes.expand, i[0], _as_ints(i[1])),
    "Tile": lambda e, i, a: e.call(shapes.tile, i[0], _as_ints(i[1])),
    "Pad": _pad,
    "ConstantOfShape": lambda e, i, a: e.call(
        shapes.full, _as_ints(i[0]), float(a.get("value", 0.0)), bool(a.get("integer", 0))
    ),
    "Range": _range,
    "Resize": _resize,
    "Upsample": _resize,
    "DepthToSpace": lambda e, i, a: e.call(
        shapes.depth_to_space, i[0], int(a["blocksize"]), str(a.get("mode", "DCR"))
    ),
    "Col2Im": _col2im,
    "SpaceToDepth": lambda e, i, a: e.call(shapes.space_to_depth, i[0], int(a["blocksize"])),
}
