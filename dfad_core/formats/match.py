"""Matching state dicts with architectures: loading one into its network, and finding the network of one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from dfad_core.contract.architectures import (
    ARCHITECTURES,
    LAYERS,
    TRANSFORMERS,
    Architecture,
    get_architecture,
)
from dfad_core.contract.config import MAX_CHANNELS, MAX_IMAGE_SIDE
from dfad_core.contract.errors import ConfigError, ShapeError, TeacherRejected
from dfad_core.networks import build_classifier

COUNTERS = ("num_batches_tracked", "total_ops", "total_params")
"""Ends of the names of tensors that count: batches, and what profilers count."""
MAX_LISTED = 6
MAX_SIDE = 2**31
MAX_CLASSES = 100_000
MAX_TOKENS = 1 + (MAX_IMAGE_SIDE // 16) ** 2
"""Of the largest image in patches of 16 pixels."""
PLACEHOLDER_CLASSES = 10


def without_bookkeeping(tensors: Mapping[str, Tensor], state: Iterable[str]) -> dict[str, Tensor]:
    """`tensors` without counters that are not in `state`, which some networks lack."""
    names = set(state)
    return {n: t for n, t in tensors.items() if n in names or not n.endswith(COUNTERS)}


def differences(tensors: Mapping[str, Tensor], module: nn.Module) -> list[str]:
    """Why `tensors` are not the state of `module`: missing, unexpected and mis-shaped names."""
    state = module.state_dict()
    tensors = without_bookkeeping(tensors, state)
    missing = [n for n in state if n not in tensors and not n.endswith("num_batches_tracked")]
    unexpected = [n for n in tensors if n not in state]
    misshaped = [
        f"{n} {list(tensors[n].shape)} instead of {list(state[n].shape)}"
        for n in state
        if n in tensors and tensors[n].shape != state[n].shape
    ]
    kinds = (("missing", missing), ("unexpected", unexpected), ("mis-shaped", misshaped))
    return [f"{kind}: {first_names(names)}" for kind, names in kinds if names]


def first_names(names: list[str]) -> str:
    """The first MAX_LISTED names, and the number of others."""
    rest = len(names) - MAX_LISTED
    return ", ".join(names[:MAX_LISTED]) + (f" and {rest} more" if rest > 0 else "")


@cache
def _state(architecture: str) -> tuple[tuple[str, int], ...]:
    """Names and dimensions of the architecture's tensors, from stem to head.

    The order in a file is no help: safetensors files are sorted by name.
    """
    row = get_architecture(architecture)
    state = build_meta(architecture, PLACEHOLDER_CLASSES, row.input_shape, {}).state_dict()
    return tuple((name, t.dim()) for name, t in state.items())


def _weights(architecture: str) -> tuple[tuple[str, int], ...]:
    """Those of the architecture's matrices and kernels."""
    return tuple((name, dims) for name, dims in _state(architecture) if dims in (2, 4))


def _weight(tensors: Mapping[str, Tensor], names: Iterable[str]) -> Tensor | None:
    """The tensor under the first of `names`, if it is a weight at all."""
    tensor = tensors.get(next(iter(names)))
    return tensor if tensor is not None and tensor.dim() in (2, 4) else None


def head_classes(architecture: Architecture, tensors: Mapping[str, Tensor]) -> int | None:
    """Number of rows of the architecture's last matrix, its head; None where the file has no such head.

    None also for lists of layers and configs of transformers, which the arguments alone describe.
    """
    if architecture in (LAYERS, TRANSFORMERS):
        return None
    head = _weight(tensors, (name for name, dims in reversed(_weights(architecture.name)) if dims == 2))
    return int(head.shape[0]) if head is not None and 1 <= head.shape[0] <= MAX_CLASSES else None


def num_logits(
    architecture: Architecture, tensors: Mapping[str, Tensor], num_classes: int | None
) -> int | None:
    """The caller's number of classes, else the file's; None where neither is known.

    For a head with one row it is 1 whatever the caller expects; see `with_two_rows`.
    """
    head = head_classes(architecture, tensors)
    return head if head == 1 else num_classes or head


def default_shape(architecture: Architecture, tensors: Mapping[str, Tensor]) -> tuple[int, int, int]:
    """The architecture's usual input, with the channels that the file's first convolution takes.

    Where the file has positions of patches, with the side of the square that they make.
    """
    channels, height, width = architecture.input_shape
    name, dims = _weights(architecture.name)[0]
    stem = _weight(tensors, [name])
    if dims == 4 and stem is not None and 1 <= stem.shape[1] <= MAX_CHANNELS:
        channels = int(stem.shape[1])
    positions = tensors.get(architecture.positions)
    if positions is not None and positions.dim() == 3 and 1 < positions.shape[1] <= MAX_TOKENS:
        height = width = architecture.patch * math.isqrt(int(positions.shape[1]) - 1)
    return channels, height, width


def infer_args(architecture: Architecture, tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """The width of a network that takes one, from the rows of one weight."""
    name, rows = architecture.width_weight or (_weights(architecture.name)[0][0], 1)
    weight = _weight(tensors, [name])
    if weight is None or "width" not in architecture.args:
        return {}
    width = int(weight.shape[0]) // rows
    return {} if width == architecture.usual_width else {"width": width}


def ends(architecture: Architecture) -> tuple[str, str]:
    """Names of the architecture's first and last weight."""
    weights = _weights(architecture.name)
    return weights[0][0], weights[-1][0]


def children(architecture: Architecture) -> set[str]:
    """First parts of the names of the architecture's tensors."""
    return {name.partition(".")[0] for name, _ in _state(architecture.name)}


def fitting_args(
    architecture: Architecture,
    tensors: Mapping[str, Tensor],
    num_classes: int | None,
    shape: tuple[int, int, int] | None,
    args: Mapping[str, Any] | None = None,
) -> dict[str, Any] | None:
    """The arguments with which the architecture's state has exactly these names and shapes; None without any.

    `num_classes`, `shape` and `args` are the caller's; what is None is read from the tensors.
    """
    if any(name not in tensors for name, _ in _state(architecture.name) if not name.endswith(COUNTERS)):
        return None  # before a network is built
    classes = num_logits(architecture, tensors, num_classes)
    if classes is None:
        return None
    args = dict(args or infer_args(architecture, tensors))
    try:
        module = build_meta(architecture.name, classes, shape or default_shape(architecture, tensors), args)
    except (ShapeError, ConfigError):
        return None
    return None if differences(tensors, module) else args


def closest(
    tensors: Mapping[str, Tensor], num_classes: int | None, shape: tuple[int, int, int] | None
) -> list[str]:
    """The three catalogue entries that share most tensors with `tensors`, each with its differences."""
    ranked: list[tuple[int, str]] = []
    for architecture in ARCHITECTURES.values():
        classes = num_classes or head_classes(architecture, tensors) or PLACEHOLDER_CLASSES
        args = infer_args(architecture, tensors)
        try:
            module = build_meta(
                architecture.name, classes, shape or default_shape(architecture, tensors), args
            )
        except (ShapeError, ConfigError):
            continue
        state = module.state_dict()
        shared = sum(name in tensors and tensors[name].shape == own.shape for name, own in state.items())
        if shared:
            faults = "; ".join(differences(tensors, module)) or "nothing differs"
            ranked.append((shared, f"{architecture.name} ({faults})"))
    return [text for _, text in sorted(ranked, key=lambda entry: -entry[0])[:3]]


def with_two_rows(architecture: Architecture, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of a network with one logit z as that of one with the logits [0, z].

    Raises TeacherRejected (`one_logit`) for an architecture whose head its arguments alone describe.
    """
    if head_classes(architecture, tensors) != 1:
        text = "A network of layers or of transformers with one logit is not supported: give it two, [0, z]."
        raise TeacherRejected(text, code="one_logit")
    weight = next(name for name, dims in reversed(_weights(architecture.name)) if dims == 2)
    head = (weight, weight.removesuffix("weight") + "bias")
    return {
        name: torch.cat([torch.zeros_like(t), t]) if name in head and t.shape[:1] == (1,) else t
        for name, t in tensors.items()
    }


def build_meta(name: str, classes: int, shape: tuple[int, int, int], args: Mapping[str, Any]) -> nn.Module:
    """The network without memory for its weights."""
    with torch.device("meta"):
        return build_classifier(name, num_classes=classes, input_shape=shape, args=args)


def build_with(
    tensors: Mapping[str, Tensor],
    name: str,
    *,
    num_classes: int | None,
    input_shape: tuple[int, int, int],
    args: Mapping[str, Any],
) -> nn.Module:
    """The network called `name` with `tensors` as its state, float32, in eval mode.

    Memory is allocated only after every name and shape agreed, so a small file cannot claim a large
    network. Raises TeacherRejected: `architecture_mismatch` with the names, `tensor_layout`,
    `nonfinite_weights`; ConfigError for an unknown architecture.
    """
    # A missing head is one of the differences, whatever size is assumed for it.
    classes = num_classes or head_classes(get_architecture(name), tensors) or PLACEHOLDER_CLASSES
    try:
        faults = differences(tensors, build_meta(name, classes, input_shape, args))
    except (ConfigError, ShapeError) as error:
        raise TeacherRejected(error.message, code="architecture_mismatch", param=error.param) from error
    if faults:
        raise TeacherRejected(
            f"The weights are not those of {name}: {'; '.join(faults)}.",
            code="architecture_mismatch",
            param="architecture",
        )
    check_layouts(tensors)
    try:
        module = build_classifier(name, num_classes=classes, input_shape=input_shape, args=args)
    except ShapeError as error:  # some show only with weights that they do not take such images
        raise TeacherRejected(error.message, code="architecture_mismatch", param=error.param) from error
    state = module.state_dict()
    for key, tensor in without_bookkeeping(tensors, state).items():
        state[key] = _convert(key, tensor, state[key].dtype)
    module.load_state_dict(state)
    return module.eval()


def _refusal(key: str, what: str, code: str) -> TeacherRejected:
    return TeacherRejected(f"{key[:256]} {what}.", code=code, param=key[:256])


def check_layouts(tensors: Mapping[str, Tensor]) -> None:
    """Raise TeacherRejected (`tensor_layout`) for any tensor that does not hold each of its values."""
    for key, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            raise _refusal(key, "is not a dense tensor", "tensor_layout")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise _refusal(key, "repeats its values instead of storing each", "tensor_layout")
        if max(tensor.shape, default=0) > MAX_SIDE:
            raise _refusal(key, f"has a dimension over {MAX_SIDE}", "tensor_layout")


def _convert(key: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """`tensor` as `dtype`. Raises TeacherRejected: `tensor_layout`, `nonfinite_weights`."""
    if dtype.is_floating_point and not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise _refusal(key, f"contains {kind}, not real numbers", "tensor_layout")
    # After the conversion: a finite float64 may be infinite in float32.
    tensor = tensor.to(dtype)
    if not bool(torch.isfinite(tensor).all()):
        raise _refusal(key, "has values that are NaN or infinite in float32", "nonfinite_weights")
    if key.endswith("running_var") and bool((tensor < 0).any()):
        raise _refusal(key, "has negative variances, whose roots are NaN", "nonfinite_weights")
    return tensor
