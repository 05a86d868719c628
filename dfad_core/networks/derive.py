"""A student of the teacher's own family, within what its user can afford."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dfad_core.contract.catalog import get_architecture
from dfad_core.contract.config import TargetConfig
from dfad_core.errors import ConfigError, ShapeError
from dfad_core.networks import build_classifier
from dfad_core.networks.cost import Cost, cost

FAMILIES: tuple[tuple[str, ...], ...] = (
    ("resnet56", "resnet32", "resnet20", "resnet8"),
    ("resnet34", "resnet18"),
    ("vgg11_bn",),
    ("mobilenet_v2",),
    ("cnn8",),
    ("mlp8",),
)
"""Each from deep to shallow; all of them come in any width."""
RELATIVES: Mapping[str, tuple[str, ...]] = {
    "lenet5": ("lenet5_half",),
    "wrn_16_2": ("wrn_16_1",),
    "wrn_40_1": ("wrn_16_1",),
    "wrn_40_2": ("wrn_40_1", "wrn_16_2", "wrn_16_1"),
}
"""Smaller ones of families that come in few sizes."""
STRANGERS = ("resnet34", "resnet18", "resnet56", "resnet32", "resnet20", "resnet8", "cnn8")
"""For a teacher that the catalogue does not know."""
WIDTHS = (
    *(512, 384, 256, 192, 128, 96, 80, 64, 56, 48, 40, 32, 28, 24, 22, 20, 18),
    # Among narrow networks one channel more is a tenth more of parameters: none is left out.
    *range(16, 0, -1),
)


@dataclass(frozen=True)
class Derived:
    """A student and what it costs."""

    architecture: str
    args: dict[str, Any]
    cost: Cost


def derive_student(
    target: TargetConfig,
    *,
    teacher: str,
    teacher_args: dict[str, Any],
    teacher_cost: Cost,
    num_classes: int,
    input_shape: tuple[int, int, int],
) -> Derived:
    """The largest network of the family, in parameters, that keeps to `target` and is below the teacher.

    Nothing is allocated. Raises ConfigError `target_unreachable` with what the smallest one would take.
    """
    smallest: Derived | None = None
    best: Derived | None = None
    fitted = ""
    for name, args in _candidates(teacher, teacher_args):
        if name == fitted:
            continue  # widths fall: the first that fits is the largest of its depth
        network = _on_meta(name, args, num_classes, input_shape)
        if network is None:
            continue
        found = Derived(name, args, cost(network, input_shape))
        if smallest is None or found.cost.parameters < smallest.cost.parameters:
            smallest = found
        if found.cost.parameters >= teacher_cost.parameters or not target.allows(
            found.cost.parameters, found.cost.macs, found.cost.bytes
        ):
            continue
        fitted = name
        if best is None or (found.cost.parameters, found.cost.macs) > (best.cost.parameters, best.cost.macs):
            best = found
    if best is None:
        raise ConfigError(_unreachable(smallest), code="target_unreachable", param="student.target")
    return best


OFFERED = (2, 4, 10)
"""Compressions for which a student is offered."""


def offered_students(
    *,
    teacher: str,
    teacher_args: dict[str, Any],
    teacher_parameters: int,
    num_classes: int,
    input_shape: tuple[int, int, int],
) -> list[Derived]:
    """For each compression of OFFERED the largest network of the family that is as small; none twice.

    Nothing is allocated; only those that are offered are counted in full, which takes longer than the rest.
    """
    sized: list[tuple[int, str, dict[str, Any]]] = []
    for name, args in _candidates(teacher, teacher_args):
        network = _on_meta(name, args, num_classes, input_shape)
        if network is not None:
            sized.append((sum(p.numel() for p in network.parameters()), name, args))
    found: dict[int, Derived] = {}
    for compression in OFFERED:
        fitting = [one for one in sized if one[0] * compression <= teacher_parameters]
        if not fitting:
            break
        parameters, name, args = max(fitting, key=lambda one: one[0])
        network = _on_meta(name, args, num_classes, input_shape)
        if parameters not in found and network is not None:
            found[parameters] = Derived(name, args, cost(network, input_shape))
    return list(found.values())


def _on_meta(
    name: str, args: dict[str, Any], num_classes: int, input_shape: tuple[int, int, int]
) -> nn.Module | None:
    """The network without its numbers; None where it does not take the teacher's input."""
    try:
        with torch.device("meta"):
            return build_classifier(name, num_classes=num_classes, input_shape=input_shape, args=args)
    except (ConfigError, ShapeError):
        return None


def _unreachable(smallest: Derived | None) -> str:
    if smallest is None:
        return "No network of the catalogue takes the teacher's input; name the student."
    figures = smallest.cost
    return (
        f"No student keeps to the target: the smallest one of the family, {smallest.architecture}, has "
        f"{figures.parameters} parameters, {figures.macs} multiply-accumulates and {figures.bytes} bytes."
    )


def _candidates(teacher: str, args: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in RELATIVES.get(teacher, ()):
        yield name, {}
    if teacher in RELATIVES:
        return
    family = next((f for f in FAMILIES if teacher in f), STRANGERS)
    depths = family[family.index(teacher) :] if teacher in family else family
    widest = args.get("width") or _usual_width(teacher)
    for name in depths:
        usual = get_architecture(name).usual_width
        for width in WIDTHS:
            if widest is None or width <= widest:
                yield name, {} if width == usual else {"width": width}


def _usual_width(name: str) -> int | None:
    try:
        return get_architecture(name).usual_width
    except ConfigError:
        return None
