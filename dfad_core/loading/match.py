"""Fitting a state dict to an architecture, and finding the architecture that fits one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dfad_core.catalog import ARCHITECTURES, Architecture
from dfad_core.errors import ShapeError, TeacherRejected
from dfad_core.models import build_classifier

PREFIXES = ("module.", "_orig_mod.", "model.")
MAX_LISTED = 6


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
    return [f"{kind}: {_some(names)}" for kind, names in named if names]


def _some(names: list[str]) -> str:
    rest = len(names) - MAX_LISTED
    return ", ".join(names[:MAX_LISTED]) + (f" and {rest} more" if rest > 0 else "")


def head_classes(tensors: Mapping[str, Tensor]) -> int | None:
    """Rows of the last matrix: the classifier's head in every network of the catalogue."""
    matrices = [t for t in tensors.values() if t.dim() == 2]
    return int(matrices[-1].shape[0]) if matrices else None


def stem_channels(tensors: Mapping[str, Tensor]) -> int | None:
    """Input channels of the first convolution."""
    return next((int(t.shape[1]) for t in tensors.values() if t.dim() == 4), None)


def default_shape(architecture: Architecture, tensors: Mapping[str, Tensor]) -> tuple[int, int, int]:
    """The architecture's usual input, with the channels that the file's first convolution takes."""
    channels, height, width = architecture.input_shape
    return stem_channels(tensors) or channels, height, width


def infer_args(architecture: Architecture, tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """The width of a network that takes one: the rows of its first weight."""
    if "width" not in architecture.args:
        return {}
    first = next((t for t in tensors.values() if t.dim() in (2, 4)), None)
    return {} if first is None else {"width": int(first.shape[0])}


def infer_architecture(
    tensors: Mapping[str, Tensor], num_classes: int | None, shape: tuple[int, int, int] | None
) -> tuple[str, dict[str, int]] | None:
    """The one catalogue entry whose state has exactly these names and shapes, with its arguments."""
    classes = num_classes or head_classes(tensors)
    if classes is None:
        return None
    found: list[tuple[str, dict[str, int]]] = []
    for architecture in ARCHITECTURES.values():
        args = infer_args(architecture, tensors)
        try:
            module = build_meta(
                architecture.name, classes, shape or default_shape(architecture, tensors), args
            )
        except (ShapeError, ValueError):
            continue
        if not differences(tensors, module):
            found.append((architecture.name, args))
    return found[0] if len(found) == 1 else None


def build_meta(name: str, classes: int, shape: tuple[int, int, int], args: Mapping[str, Any]) -> nn.Module:
    """The network without memory for its weights."""
    with torch.device("meta"):
        return build_classifier(name, num_classes=classes, input_shape=shape, args=args)


def fit(tensors: Mapping[str, Tensor], module: nn.Module, name: str) -> None:
    """Load `tensors` into `module`. Raises TeacherRejected: `architecture_mismatch` with the names,
    `tensor_layout`, `nonfinite_weights`.
    """
    faults = differences(tensors, module)
    if faults:
        raise TeacherRejected(f"The weights are not those of {name}: {'; '.join(faults)}.",
                              code="architecture_mismatch", param="architecture")  # fmt: skip
    state = module.state_dict()
    for key, tensor in without_bookkeeping(tensors, state).items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            raise TeacherRejected(f"{key} is not a dense tensor.", code="tensor_layout", param=key)
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise TeacherRejected(f"{key} has NaN or infinite values.", code="nonfinite_weights", param=key)
        state[key] = tensor.to(state[key].dtype)
    module.load_state_dict(state)
