"""Networks as a list of layers in JSON: types of layers, their settings and output shapes. Torch-free.

A layer is an object with a `type` and that type's settings. A `residual` has `layers` of its own, whose
output is added to its input. The last shape must be a row of logits: a `linear` without `features` gives one
number a class. Errors are ConfigErrors whose `param` is the place, as in `layers.3.kernel`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dfad_core.contract.bounds import Range
from dfad_core.contract.errors import ConfigError
from dfad_core.contract.serialization import JsonObject

NAME = "layers"
MAX_LAYERS = 200
MAX_DEPTH = 4
MAX_PARAMETERS = 200_000_000
MAX_ACTIVATIONS = 64 * 2**20
"""Largest output of one layer for one image."""

Shape = tuple[int, ...]
"""Shape of one image, (C, H, W), or of a flat vector, (features,)."""

_CHANNELS = Range(ge=1, le=8192)
_SIDE = Range(ge=1, le=64)
REQUIRED = object()


@dataclass(frozen=True)
class Kind:
    """One type of layer."""

    settings: Mapping[str, tuple[Range, Any]]
    """Bounds and default of each setting (REQUIRED: no default; None: it follows from the other settings)."""
    shape: Callable[[Shape, Mapping[str, Any], int], Shape]
    """Output shape; the function raises ValueError for an input that does not fit."""
    parameters: Callable[[Shape, Shape, Mapping[str, Any]], int] = lambda _in, _out, _settings: 0


def _image(shape: Shape) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise ValueError("needs an image, but its input is flat")
    return shape


def _windows(side: int, size: int, stride: int, padding: int) -> int:
    count = (side + 2 * padding - size) // stride + 1
    if count < 1:
        raise ValueError(f"a window of {size} does not fit into {side}")
    return count


def _conv(shape: Shape, settings: Mapping[str, Any], _classes: int) -> Shape:
    channels, height, width = _image(shape)
    if channels % settings["groups"] or settings["channels"] % settings["groups"]:
        raise ValueError(f"groups does not divide {channels} and {settings['channels']} channels")
    padding = settings["kernel"] // 2 if settings["padding"] is None else settings["padding"]
    sides = (_windows(side, settings["kernel"], settings["stride"], padding) for side in (height, width))
    return (settings["channels"], *sides)


def _pool(shape: Shape, settings: Mapping[str, Any], _classes: int) -> Shape:
    channels, height, width = _image(shape)
    stride = settings["stride"] or settings["size"]
    return (channels, *(_windows(side, settings["size"], stride, 0) for side in (height, width)))


def _group_norm(shape: Shape, settings: Mapping[str, Any], _classes: int) -> Shape:
    if _image(shape)[0] % settings["groups"]:
        raise ValueError(f"groups does not divide {shape[0]} channels")
    return shape


def _flatten(shape: Shape, _settings: Mapping[str, Any], _classes: int) -> Shape:
    channels, height, width = _image(shape)
    return (channels * height * width,)


def _linear(shape: Shape, settings: Mapping[str, Any], classes: int) -> Shape:
    if len(shape) != 1:
        raise ValueError("needs a flat input: put `flatten` or `global_avg_pool` before it")
    return (settings["features"] or classes,)


_SAME = Kind({}, lambda shape, _settings, _classes: shape)
ACTIVATIONS = ("relu", "leaky_relu", "gelu", "silu", "hardswish", "sigmoid", "tanh")
KINDS: Mapping[str, Kind] = {
    "conv": Kind(
        {
            "channels": (_CHANNELS, REQUIRED),
            "kernel": (_SIDE, 3),
            "stride": (_SIDE, 1),
            "padding": (Range(ge=0, le=32), None),
            "groups": (_CHANNELS, 1),
        },
        _conv,
        lambda i, o, g: o[0] * (i[0] // g["groups"]) * g["kernel"] ** 2 + o[0],
    ),
    "batch_norm": Kind({}, lambda s, _g, _c: s, lambda i, _o, _g: 2 * i[0]),
    "group_norm": Kind({"groups": (_CHANNELS, REQUIRED)}, _group_norm, lambda i, _o, _g: 2 * i[0]),
    **dict.fromkeys(ACTIVATIONS, _SAME),
    "max_pool": Kind({"size": (_SIDE, 2), "stride": (_SIDE, None)}, _pool),
    "avg_pool": Kind({"size": (_SIDE, 2), "stride": (_SIDE, None)}, _pool),
    "global_avg_pool": Kind({}, lambda s, _g, _c: (_image(s)[0],)),
    "flatten": Kind({}, _flatten),
    "linear": Kind({"features": (_CHANNELS, None)}, _linear, lambda i, o, _g: o[0] * i[0] + o[0]),
    "residual": Kind({}, lambda s, _g, _c: s),
}


def checked(
    layers: Any, input_shape: Shape | None = None, num_classes: int | None = None
) -> list[JsonObject]:
    """`layers` with the defaults of all missing settings.

    With `input_shape` (C, H, W) every shape is checked as well; with `num_classes` also the number of logits.
    Raises ConfigError with the place.
    """
    result, shape = _Walk(num_classes).list(layers, input_shape, NAME)
    if not result:
        raise ConfigError("a network needs at least one layer", param=NAME)
    if shape is not None and len(shape) != 1:
        raise ConfigError(
            "the last layer gives an image, not a row of logits", param=f"{NAME}.{len(result) - 1}"
        )
    if shape is not None and num_classes is not None and shape != (num_classes,):
        text = f"the last layer gives {shape[0]} numbers for {num_classes} classes"
        raise ConfigError(text, param=f"{NAME}.{len(result) - 1}")
    return result


class _Walk:
    """One pass over a network, with its counts of layers and parameters."""

    def __init__(self, classes: int | None) -> None:
        self._classes = classes or 1
        self._layers = self._parameters = 0

    def list(
        self, layers: Any, shape: Shape | None, place: str, depth: int = 1
    ) -> tuple[list[dict[str, Any]], Shape | None]:
        if not isinstance(layers, Sequence) or isinstance(layers, str):
            raise ConfigError("must be a list of layers", param=place)
        if depth > MAX_DEPTH:
            raise ConfigError(f"residuals are nested more than {MAX_DEPTH} deep", param=place)
        result = []
        for number, layer in enumerate(layers):
            here = f"{place}.{number}"
            self._layers += 1
            if self._layers > MAX_LAYERS:
                raise ConfigError(f"a network has at most {MAX_LAYERS} layers", param=here)
            settings, kind = _read_settings(layer, here)
            if settings["type"] == "residual":
                settings["layers"], after = self.list(layer.get("layers"), shape, f"{here}.layers", depth + 1)
                if after != shape:
                    text = f"{list(shape or ())} becomes {list(after or ())} inside: they cannot be added"
                    raise ConfigError(text, param=here)
            if shape is not None:
                shape = self._output_shape(kind, shape, settings, here)
            result.append(settings)
        return result, shape

    def _output_shape(self, kind: Kind, shape: Shape, settings: Mapping[str, Any], here: str) -> Shape:
        try:
            after = kind.shape(shape, settings, self._classes)
        except ValueError as error:
            raise ConfigError(str(error), param=here) from error
        self._parameters += kind.parameters(shape, after, settings)
        if self._parameters > MAX_PARAMETERS or math.prod(after) > MAX_ACTIVATIONS:
            raise ConfigError("the network is larger than the limit for students", param=here)
        return after


def _read_settings(layer: Any, here: str) -> tuple[dict[str, Any], Kind]:
    if not isinstance(layer, Mapping):
        raise ConfigError("must be an object with a `type`", param=here)
    name = layer.get("type")
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ConfigError(f"must be one of {', '.join(KINDS)}", param=f"{here}.type")
    settings: dict[str, Any] = {"type": name}
    for setting, (bounds, default) in kind.settings.items():
        value = layer.get(setting)
        if value is None:
            if default is REQUIRED:
                raise ConfigError("is missing", param=f"{here}.{setting}")
            settings[setting] = default
            continue
        if type(value) is not int:
            raise ConfigError("must be a whole number", param=f"{here}.{setting}")
        problem = bounds.problem(value)
        if problem:
            raise ConfigError(problem, param=f"{here}.{setting}")
        settings[setting] = value
    reserved = ("type", "layers") if name == "residual" else ("type",)
    for setting in layer:
        if setting not in kind.settings and setting not in reserved:
            raise ConfigError(f"{name} has no such setting", param=f"{here}.{setting}")
    return settings, kind
