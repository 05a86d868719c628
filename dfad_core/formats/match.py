"""Fitting a state dict to an architecture, and finding the architecture that fits one."""

from __future__ import annotations

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
from dfad_core.contract.config import MAX_CHANNELS
from dfad_core.errors import ConfigError, ShapeError, TeacherRejected
from dfad_core.networks import build_classifier

PREFIXES = ("module.", "_orig_mod.", "model.")
MAX_LISTED = 6
MAX_SIDE = 2**31
MAX_CLASSES = 100_000
PLACEHOLDER_CLASSES = 10


def strip_prefixes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefixes that DataParallel, torch.compile and wrappers put before every name."""
    found = dict(tensors)
    changed = True
    while changed:
        changed = False
        for prefix in PREFIXES:
            if found and all(name.startswith(prefix) for name in found):
                found = {name[len(prefix) :]: tensor for name, tensor in found.items()}
                changed = True
    return found


def without_bookkeeping(tensors: Mapping[str, Tensor], wanted: Iterable[str]) -> dict[str, Tensor]:
    """Without batch counters, which some writers leave out; all else stays to be judged."""
    known = set(wanted)
    return {n: t for n, t in tensors.items() if n in known or not n.endswith("num_batches_tracked")}


def differences(tensors: Mapping[str, Tensor], module: nn.Module) -> list[str]:
    """What keeps `tensors` from being the state of `module`: missing, unexpected, mis-shaped names."""
    wanted = module.state_dict()
    given = without_bookkeeping(tensors, wanted)
    missing = [n for n in wanted if n not in given and not n.endswith("num_batches_tracked")]
    unexpected = [n for n in given if n not in wanted]
    misshaped = [
        f"{n} {list(given[n].shape)} instead of {list(wanted[n].shape)}"
        for n in wanted
        if n in given and given[n].shape != wanted[n].shape
    ]
    named = (("missing", missing), ("unexpected", unexpected), ("mis-shaped", misshaped))
    return [f"{kind}: {some(names)}" for kind, names in named if names]


def some(names: list[str]) -> str:
    """The first of them, and how many more there are."""
    rest = len(names) - MAX_LISTED
    return ", ".join(names[:MAX_LISTED]) + (f" and {rest} more" if rest > 0 else "")


@cache
def _weights(architecture: str) -> tuple[tuple[str, int], ...]:
    """Names and dimensions of the architecture's weights, from stem to head.

    A file's own order says nothing: safetensors files are sorted by name.
    """
    entry = get_architecture(architecture)
    state = build_meta(architecture, PLACEHOLDER_CLASSES, entry.input_shape, {}).state_dict()
    return tuple((name, t.dim()) for name, t in state.items() if t.dim() in (2, 4))


def _weight(tensors: Mapping[str, Tensor], names: Iterable[str]) -> Tensor | None:
    """The tensor under the first of `names`, if it is a weight at all."""
    found = tensors.get(next(iter(names)))
    return found if found is not None and found.dim() in (2, 4) else None


def head_classes(architecture: Architecture, tensors: Mapping[str, Tensor]) -> int | None:
    """Rows of the architecture's last matrix, its head; None where the file has no such head.

    None, too, for lists of layers and configs of transformers: their form stands in their arguments alone.
    """
    if architecture in (LAYERS, TRANSFORMERS):
        return None
    head = _weight(tensors, (name for name, dims in reversed(_weights(architecture.name)) if dims == 2))
    return int(head.shape[0]) if head is not None and 1 <= head.shape[0] <= MAX_CLASSES else None


def num_logits(
    architecture: Architecture, tensors: Mapping[str, Tensor], num_classes: int | None
) -> int | None:
    """The caller's number of classes over the file's; None where neither is known.

    A head of one row has one whatever the caller expects, so that it is refused as what it is.
    """
    head = head_classes(architecture, tensors)
    return head if head == 1 else num_classes or head


def default_shape(architecture: Architecture, tensors: Mapping[str, Tensor]) -> tuple[int, int, int]:
    """The architecture's usual input, with the channels that the file's first convolution takes."""
    channels, height, width = architecture.input_shape
    name, dims = _weights(architecture.name)[0]
    stem = _weight(tensors, [name])
    if dims == 4 and stem is not None and 1 <= stem.shape[1] <= MAX_CHANNELS:
        channels = int(stem.shape[1])
    return channels, height, width


def infer_args(architecture: Architecture, tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """The width of a network that takes one: the rows of its first weight."""
    first = _weight(tensors, [_weights(architecture.name)[0][0]])
    if first is None or "width" not in architecture.args:
        return {}
    width = int(first.shape[0])
    return {} if width == architecture.usual_width else {"width": width}


def infer_architecture(
    tensors: Mapping[str, Tensor], num_classes: int | None, shape: tuple[int, int, int] | None
) -> tuple[str, dict[str, int]] | None:
    """The one catalogue entry whose state has exactly these names and shapes, with its arguments."""
    found: list[tuple[str, dict[str, int]]] = []
    for architecture in ARCHITECTURES.values():
        classes = num_logits(architecture, tensors, num_classes)
        if classes is None:
            continue
        args = infer_args(architecture, tensors)
        given = shape or default_shape(architecture, tensors)
        try:
            module = build_meta(architecture.name, classes, given, args)
        except (ShapeError, ConfigError):
            continue
        if not differences(tensors, module):
            found.append((architecture.name, args))
    return found[0] if len(found) == 1 else None


def closest(
    tensors: Mapping[str, Tensor], num_classes: int | None, shape: tuple[int, int, int] | None
) -> list[str]:
    """The three catalogue entries whose states share most with `tensors`, and what keeps each from it."""
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
    return [told for _, told in sorted(ranked, key=lambda entry: -entry[0])[:3]]


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

    Memory is asked for only after every name and shape agreed, so a small file cannot claim a large
    network. Raises TeacherRejected: `architecture_mismatch` with the names, `tensor_layout`,
    `nonfinite_weights`; ConfigError for an unknown architecture.
    """
    # A head that is not there is one of the differences, whatever its size.
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
    module = build_classifier(name, num_classes=classes, input_shape=input_shape, args=args)
    state = module.state_dict()
    for key, tensor in without_bookkeeping(tensors, state).items():
        state[key] = _sound(key, tensor, state[key].dtype)
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
            raise _refusal(key, "has a size that nothing has", "tensor_layout")


def _sound(key: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """`tensor` as `dtype`. Raises TeacherRejected: `tensor_layout`, `nonfinite_weights`."""

    def refuse(what: str, code: str) -> TeacherRejected:
        return _refusal(key, what, code)

    if dtype.is_floating_point and not tensor.is_floating_point():
        raise refuse(f"holds {str(tensor.dtype).removeprefix('torch.')}, not real numbers", "tensor_layout")
    # After the conversion: what float64 can hold may be infinite here.
    tensor = tensor.to(dtype)
    if not bool(torch.isfinite(tensor).all()):
        raise refuse("has values that are NaN or infinite in float32", "nonfinite_weights")
    if key.endswith("running_var") and bool((tensor < 0).any()):
        raise refuse("has negative variances, whose roots are NaN", "nonfinite_weights")
    return tensor
