"""Operators with weights, as PyTorch's own layers, so that terms on BN statistics or features find them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfad_core.contract.errors import TeacherRejected
from dfad_core.networks.onnx_graph.emitter import Emitter, Value, value_of

Inputs = Sequence[Value | None]
Attributes = Mapping[str, Any]


def unsupported(op: str, why: str) -> TeacherRejected:
    """Error for an operator in an unsupported form."""
    return TeacherRejected(f"The operator {op} {why}.", code="unsupported_op", param=op)


def constant(op: str, value: Value | None, what: str) -> Tensor:
    """`value` as a tensor. Raises TeacherRejected where it depends on the input."""
    if not isinstance(value, Tensor):
        raise unsupported(op, f"has a {what} that is not constant")
    return value


def optional_input(inputs: Inputs, number: int) -> Value | None:
    """The input with this number, or None where it is absent."""
    return inputs[number] if number < len(inputs) else None


def with_tensors(module: nn.Module, **tensors: Tensor | None) -> nn.Module:
    """`module` of the meta device, with `tensors` as its parameters and buffers."""
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        placeholder = getattr(module, name)
        if placeholder is None or placeholder.shape != tensor.shape:
            raise TeacherRejected(
                f"A layer's {name} has the wrong shape {list(tensor.shape)}.", code="corrupt_file"
            )
        if isinstance(placeholder, nn.Parameter):
            setattr(module, name, nn.Parameter(tensor.clone()))
        else:
            setattr(module, name, tensor.clone())
    return module


def _rank(op: str, x: Value) -> int:
    rank = value_of(x).dim() - 2
    if rank not in (1, 2):
        raise unsupported(op, f"on {rank + 2} dimensions is not supported")
    return rank


def _same_pads(x: Value, kernel: list[int], strides: list[int], dilations: list[int], mode: str) -> list[int]:
    before, after = [], []
    for side, k, s, d in zip(value_of(x).shape[2:], kernel, strides, dilations, strict=True):
        total = max((-(-side // s) - 1) * s + (k - 1) * d + 1 - side, 0)
        small, large = total // 2, total - total // 2
        before.append(small if mode == "SAME_UPPER" else large)
        after.append(large if mode == "SAME_UPPER" else small)
    return before + after


class _Window:
    """Kernel, strides, dilations and pads of a convolution or pool."""

    def __init__(self, op: str, x: Value, attributes: Attributes, kernel: Sequence[int]) -> None:
        rank = _rank(op, x)
        self.rank, self.kernel = rank, [int(n) for n in kernel]
        self.strides = [int(n) for n in attributes.get("strides", [1] * rank)]
        self.dilations = [int(n) for n in attributes.get("dilations", [1] * rank)]
        pads = [int(n) for n in attributes.get("pads", [0] * 2 * rank)]
        mode = attributes.get("auto_pad", "NOTSET")
        if mode in ("SAME_UPPER", "SAME_LOWER"):
            pads = _same_pads(x, self.kernel, self.strides, self.dilations, mode)
        elif mode == "VALID":
            pads = [0] * 2 * rank
        fits = [len(pads) == 2 * rank, *(len(n) == rank for n in (self.kernel, self.strides, self.dilations))]
        if not all(fits) or min(*self.kernel, *self.strides, *self.dilations) < 1 or min(pads) < 0:
            raise unsupported(op, "has impossible sizes")
        self.before, self.after = pads[:rank], pads[rank:]

    @property
    def even(self) -> bool:
        """Whether the pads of both sides are equal."""
        return self.before == self.after

    @property
    def around(self) -> list[int]:
        """The pads as PyTorch's `pad` takes them."""
        return [n for pair in zip(reversed(self.before), reversed(self.after), strict=True) for n in pair]


def conv(e: Emitter, i: Inputs, a: Attributes) -> Value:
    """Conv, in one or two dimensions."""
    x = i[0]
    assert x is not None
    weight, bias = constant("Conv", optional_input(i, 1), "weight"), optional_input(i, 2)
    bias = None if bias is None else constant("Conv", bias, "bias")
    if bias is not None and bias.stride() == (0,) and not bias.any():
        bias = None  # a zero repeated for each channel: how PyTorch writes a convolution without bias
    window = _Window("Conv", x, a, a.get("kernel_shape", weight.shape[2:]))
    groups = int(a.get("group", 1))
    if groups < 1 or weight.dim() != window.rank + 2 or weight.shape[0] % groups:
        raise unsupported("Conv", "has groups that do not fit")
    if not window.even:
        x = e.call(F.pad, x, window.around)
    make: Any = nn.Conv1d if window.rank == 1 else nn.Conv2d
    module = make(
        weight.shape[1] * groups, weight.shape[0], tuple(window.kernel), tuple(window.strides),
        tuple(window.before) if window.even else 0, tuple(window.dilations), groups, bias is not None,
        device="meta",
    )  # fmt: skip
    return e.layer(with_tensors(module, weight=weight, bias=bias), x)


def batch_norm(e: Emitter, i: Inputs, a: Attributes) -> Value:
    """BatchNormalization, with the statistics of its training; of constants with their own."""
    x = i[0]
    assert x is not None
    if a.get("training_mode", 0):
        if not isinstance(x, Tensor):
            raise unsupported(
                "BatchNormalization",
                "takes the statistics of its batch (training mode): export the model after model.eval()",
            )
        scale, shift = (constant("BatchNormalization", optional_input(i, n), "weight") for n in (1, 2))
        epsilon = float(a.get("epsilon", 1e-5))
        normed: Value = e.call(F.batch_norm, x, None, None, scale, shift, True, 0.0, epsilon)
        return normed
    names = ("weight", "bias", "running_mean", "running_var")
    tensors = {n: constant("BatchNormalization", optional_input(i, k + 1), n) for k, n in enumerate(names)}
    make = nn.BatchNorm2d if value_of(x).dim() == 4 else nn.BatchNorm1d
    module = make(tensors["weight"].numel(), eps=float(a.get("epsilon", 1e-5)), device="meta")
    module.num_batches_tracked = torch.zeros((), dtype=torch.int64)
    return e.layer(with_tensors(module, **tensors), x)


def layer_norm(e: Emitter, i: Inputs, a: Attributes) -> Value:
    """LayerNormalization over the last dimensions."""
    x = i[0]
    assert x is not None
    shape = tuple(value_of(x).shape[int(a.get("axis", -1)) :])
    weight = constant("LayerNormalization", optional_input(i, 1), "scale").expand(shape)
    bias = optional_input(i, 2)
    shift = None if bias is None else constant("LayerNormalization", bias, "bias").expand(shape)
    module = nn.LayerNorm(
        shape, eps=float(a.get("epsilon", 1e-5)), bias=bias is not None, device="meta"
    )  # fmt: skip
    return e.layer(with_tensors(module, weight=weight, bias=shift), x)


def group_norm(e: Emitter, i: Inputs, a: Attributes) -> Value:
    """GroupNormalization with scale and bias for each channel."""
    x = i[0]
    assert x is not None
    channels, groups = value_of(x).shape[1], int(a["num_groups"])
    weight, bias = (
        constant("GroupNormalization", optional_input(i, n), w) for n, w in ((1, "scale"), (2, "bias"))
    )
    if weight.numel() == groups != channels:  # before opset 21: one for each group
        weight, bias = (t.repeat_interleave(channels // groups) for t in (weight, bias))
    module = nn.GroupNorm(groups, channels, eps=float(a.get("epsilon", 1e-5)), device="meta")
    return e.layer(with_tensors(module, weight=weight, bias=bias), x)


def linear(e: Emitter, x: Value, weight_OI: Tensor, bias: Tensor | None) -> Value:
    """A fully connected layer."""
    module = nn.Linear(weight_OI.shape[1], weight_OI.shape[0], bias=bias is not None, device="meta")
    if bias is not None:
        bias = bias.expand(weight_OI.shape[0]) if bias.dim() <= 1 else bias.reshape(-1)
    return e.layer(with_tensors(module, weight=weight_OI, bias=bias), x)


def gemm(e: Emitter, i: Inputs, a: Attributes) -> Value:
    """alpha A B + beta C; with a constant B it is a linear layer."""
    x, bias = i[0], optional_input(i, 2)
    assert x is not None
    if a.get("transA", 0):
        x = e.call(torch.t, x)
    weight = constant("Gemm", optional_input(i, 1), "second factor") * float(a.get("alpha", 1.0))
    if weight.dim() != 2:
        raise unsupported("Gemm", "has a second factor that is no matrix")
    shift = None if bias is None else constant("Gemm", bias, "third input") * float(a.get("beta", 1.0))
    return linear(e, x, weight if a.get("transB", 0) else weight.t(), shift)


def matmul(e: Emitter, i: Inputs, a: Attributes) -> Value:
    """A matrix product; with a constant matrix on the right it is a linear layer."""
    x, y = i[0], i[1]
    assert x is not None
    assert y is not None
    if isinstance(y, Tensor) and y.dim() == 2 and not isinstance(x, Tensor):
        return linear(e, x, y.t(), None)
    result: Value = e.call(torch.matmul, x, y)
    return result


def max_pool(e: Emitter, i: Inputs, a: Attributes) -> Value:
    """MaxPool, the values alone."""
    x = i[0]
    assert x is not None
    window = _Window("MaxPool", x, a, a["kernel_shape"])
    pads = window.before
    if not window.even or any(2 * p > k for p, k in zip(pads, window.kernel, strict=True)):
        x, pads = e.call(F.pad, x, window.around, "constant", float("-inf")), [0] * window.rank
    pool = F.max_pool1d if window.rank == 1 else F.max_pool2d
    ceil = bool(a.get("ceil_mode", 0))
    result: Value = e.call(pool, x, window.kernel, window.strides, pads, window.dilations, ceil)
    return result


def average_pool(e: Emitter, i: Inputs, a: Attributes) -> Value:
    """AveragePool. With unequal pads that do not count, the result is divided by the share of real pixels."""
    x = i[0]
    assert x is not None
    window = _Window("AveragePool", x, a, a["kernel_shape"])
    if max(window.dilations) > 1:
        raise unsupported("AveragePool", "with dilations is not supported")
    pool, zero = (F.avg_pool1d if window.rank == 1 else F.avg_pool2d), [0] * window.rank
    ceil, count_pads = bool(a.get("ceil_mode", 0)), bool(a.get("count_include_pad", 0))
    result: Value
    if window.even and all(2 * p <= k for p, k in zip(window.before, window.kernel, strict=True)):
        result = e.call(pool, x, window.kernel, window.strides, window.before, ceil, count_pads)
        return result
    result = e.call(pool, e.call(F.pad, x, window.around), window.kernel, window.strides, zero, ceil)
    if not count_pads:
        ones = torch.ones(1, 1, *value_of(x).shape[2:])
        real_share = pool(F.pad(ones, window.around), window.kernel, window.strides, zero, ceil)
        result = e.call(torch.div, result, real_share)
    return result
