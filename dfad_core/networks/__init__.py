"""Networks: the catalogue's classifiers, the generator, procedural images, and analysis of networks."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from torch import nn

from dfad_core.contract.architectures import ARCHITECTURES, LAYERS, LIBRARIES, TRANSFORMERS, get_architecture

Builder = Callable[..., nn.Module]


@cache
def _builder(path: str) -> Builder:
    """The class or function at `module:name`."""
    module, _, name = path.partition(":")
    builder: Builder = getattr(importlib.import_module(module), name)
    return builder


_LIBRARIES = [get_architecture(f"{library}:any") for library in LIBRARIES]
# All at once: a process that reads uploaded files cannot import modules any more.
for _row in (*ARCHITECTURES.values(), LAYERS, TRANSFORMERS, *_LIBRARIES):
    _builder(_row.network)


def build_classifier(
    name: str,
    *,
    num_classes: int,
    input_shape: tuple[int, int, int],
    args: Mapping[str, Any] | None = None,
) -> nn.Module:
    """A freshly initialised network of the catalogue: (B, C, H, W) float32 -> logits (B, num_classes).

    Raises ConfigError for an unknown name or argument, ShapeError where the input does not fit.
    """
    architecture = get_architecture(name)
    architecture.check_args(args or {})
    architecture.check_input(input_shape)
    build = _builder(architecture.network)
    return build(num_classes, input_shape, **architecture.settings, **(args or {}))
