"""Students of the teacher's family: the largest one within a target, and the offers of several sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dfad_core.contract.architectures import ARCHITECTURES, Architecture, get_architecture
from dfad_core.contract.config import TargetConfig
from dfad_core.contract.errors import ConfigError, ShapeError
from dfad_core.contract.limits import PassMemory
from dfad_core.networks import build_classifier
from dfad_core.networks.cost import Cost, cost
from dfad_core.networks.pass_memory import pass_memory

WIDTHS = (
    *(512, 384, 256, 192, 128, 96, 80, 64, 56, 48, 40, 32, 28, 24, 22, 20, 18),
    # One channel changes a narrow network by a tenth of its parameters, so none is left out.
    *range(16, 0, -1),
)
COMPRESSIONS = (2, 4, 10)
"""Compressions for which a student is offered."""


@dataclass(frozen=True)
class Derived:
    """A student and what it costs."""

    architecture: str
    args: dict[str, Any]
    cost: Cost
    memory: PassMemory | None = None
    """Memory of a training pass, for offers alone."""


def derive_student(
    target: TargetConfig,
    *,
    teacher: str,
    teacher_args: dict[str, Any],
    teacher_cost: Cost,
    num_classes: int,
    input_shape: tuple[int, int, int],
) -> Derived:
    """The network of the family with most parameters that is within `target` and smaller than the teacher.

    Nothing is allocated. Raises ConfigError (`target_unreachable`) with the cost of the smallest one.
    """
    smallest: Derived | None = None
    best: Derived | None = None
    settled = ""
    for name, args in _candidates(teacher, teacher_args):
        if name == settled:
            continue  # widths decrease: the first that fits is the largest of its depth
        network = _on_meta(name, args, num_classes, input_shape)
        if network is None:
            continue
        candidate = Derived(name, args, cost(network, input_shape))
        size = candidate.cost
        if smallest is None or size.parameters < smallest.cost.parameters:
            smallest = candidate
        if size.parameters >= teacher_cost.parameters:
            continue
        if not target.allows(size.parameters, size.macs, size.bytes):
            continue
        settled = name
        if best is None or (size.parameters, size.macs) > (best.cost.parameters, best.cost.macs):
            best = candidate
    if best is None:
        raise ConfigError(_unreachable(smallest), code="target_unreachable", param="student.target")
    return best


def offered_students(
    *,
    teacher: str,
    teacher_args: dict[str, Any],
    teacher_parameters: int,
    num_classes: int,
    input_shape: tuple[int, int, int],
) -> list[Derived]:
    """The largest network of the family for each of COMPRESSIONS; each network once.

    Nothing is allocated. The cost, which takes longest, is computed for the offered networks alone.
    """
    sized: list[tuple[int, str, dict[str, Any]]] = []
    for name, args in _candidates(teacher, teacher_args):
        network = _on_meta(name, args, num_classes, input_shape)
        if network is not None:
            sized.append((sum(p.numel() for p in network.parameters()), name, args))
    offers: dict[int, Derived] = {}
    for compression in COMPRESSIONS:
        fitting = [candidate for candidate in sized if candidate[0] * compression <= teacher_parameters]
        if not fitting:
            break
        parameters, name, args = max(fitting, key=lambda candidate: candidate[0])
        network = _on_meta(name, args, num_classes, input_shape)
        if parameters not in offers and network is not None:
            costs, memory = cost(network, input_shape), pass_memory(network, input_shape)
            offers[parameters] = Derived(name, args, costs, memory)
    return list(offers.values())


def _on_meta(
    name: str, args: dict[str, Any], num_classes: int, input_shape: tuple[int, int, int]
) -> nn.Module | None:
    """The network without memory for its weights; None where it does not take the teacher's input."""
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
        f"No student is within the target: the smallest one of the family, {smallest.architecture}, has "
        f"{figures.parameters} parameters, {figures.macs} multiply-accumulates and {figures.bytes} bytes."
    )


def _candidates(teacher: str, args: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names and arguments of possible students, the widest first where an architecture comes in widths."""
    row = _row(teacher)
    widest = args.get("width") or (row.usual_width if row is not None else None)
    for candidate in _family(row):
        if "width" not in candidate.args:
            yield candidate.name, {}
            continue
        for width in WIDTHS:
            if widest is None or width <= widest:
                yield candidate.name, {} if width == candidate.usual_width else {"width": width}


def _family(teacher: Architecture | None) -> list[Architecture]:
    """The teacher's family from its own rank down; the general architectures where there is no such family.

    A teacher that comes in one width alone is not among its own students.
    """
    rows = ARCHITECTURES.values()
    if teacher is not None and teacher.family:
        relatives = [r for r in rows if r.family == teacher.family and r.rank <= teacher.rank]
        relatives = [r for r in relatives if r is not teacher or "width" in r.args]
        if relatives:
            return sorted(relatives, key=lambda r: -r.rank)
    return [r for r in rows if r.general]


def _row(name: str) -> Architecture | None:
    try:
        return get_architecture(name)
    except ConfigError:
        return None
