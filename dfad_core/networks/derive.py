"""Students of the teacher's family: the largest one within a target, and the offers of several sizes.

For images of `DEPLOYED_SIDE` or more, also those networks that are deployed most.
"""

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
DEPLOYED_SIDE = 64
"""Side from which students are those of the catalogue that are deployed at such sizes."""
FAMILY_WIDTHS, DEPLOYED_WIDTHS = 8, 4
"""Number of widths up to the usual one: of a family for large images, and of other deployed networks."""


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
    """The network with most parameters that is within `target`, smaller than the teacher, and no slower.

    Nothing is allocated. Raises ConfigError (`target_unreachable`) with the cost of the smallest one.
    """
    smallest: Derived | None = None
    best: Derived | None = None
    settled = ""
    for row, args in _candidates(teacher, teacher_args, input_shape):
        name = row.name
        if name == settled:
            continue  # widths decrease: the first that fits is the largest of its depth
        network = _on_meta(name, args, num_classes, input_shape)
        if network is None:
            continue
        candidate = Derived(name, args, cost(network, input_shape))
        size = candidate.cost
        if smallest is None or size.parameters < smallest.cost.parameters:
            smallest = candidate
        if size.parameters >= teacher_cost.parameters or size.macs > teacher_cost.macs:
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
    teacher_cost: Cost,
    num_classes: int,
    input_shape: tuple[int, int, int],
) -> list[Derived]:
    """The largest network for each of COMPRESSIONS; each network once, none with more operations.

    For large images two: one of the teacher's family, and one of the deployed networks, with its usual width
    if that fits. Nothing is allocated. The cost, which takes longest, is computed for few.
    """
    groups: dict[bool, list[_Sized]] = {False: [], True: []}
    family = _family_of(_row(teacher))
    for row, args in _candidates(teacher, teacher_args, input_shape):
        network = _on_meta(row.name, args, num_classes, input_shape)
        if network is not None:
            parameters = sum(p.numel() for p in network.parameters())
            groups[row.deployed and row.family != family].append(_Sized(parameters, row, args))
    offers: dict[tuple[str, int], Derived] = {}
    for compression in COMPRESSIONS:
        most = teacher_cost.parameters // compression
        for group in groups.values():
            fitting = [candidate for candidate in group if candidate.parameters <= most]
            for one in sorted(fitting, key=_Sized.worth, reverse=True):
                if (key := (one.row.name, one.parameters)) in offers:
                    break
                network = _on_meta(one.row.name, one.args, num_classes, input_shape)
                assert network is not None, "it was built before"
                costs = cost(network, input_shape)
                if costs.macs <= teacher_cost.macs:
                    offers[key] = Derived(one.row.name, one.args, costs, pass_memory(network, input_shape))
                    break
    return list(offers.values())


@dataclass(frozen=True)
class _Sized:
    """A possible student and its number of parameters."""

    parameters: int
    row: Architecture
    args: dict[str, Any]

    def worth(self) -> tuple[bool, int]:
        """Order among students of one group."""
        return self.row.deployed and not self.args, self.parameters


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
        f"No student is within the target: the smallest network, {smallest.architecture}, has "
        f"{figures.parameters} parameters, {figures.macs} multiply-accumulates and {figures.bytes} bytes."
    )


def _candidates(
    teacher: str, args: dict[str, Any], input_shape: tuple[int, int, int]
) -> Iterator[tuple[Architecture, dict[str, Any]]]:
    """Possible students and their arguments, the widest first where an architecture comes in widths."""
    known = _row(teacher)
    for row in _rows(known, input_shape):
        if "width" not in row.args:
            yield row, {}
            continue
        widest, widths = (row.usual_width, DEPLOYED_WIDTHS) if row.deployed else (None, FAMILY_WIDTHS)
        if known is not None and row.family == known.family:
            widest, widths = args.get("width") or known.usual_width, FAMILY_WIDTHS
            if widest is not None and row.usual_width and known.usual_width:
                widest = widest * row.usual_width // known.usual_width  # units differ among MobileNets
        step = row.usual_width // widths if row.usual_width and _is_large(row.input_shape) else 1
        for width in WIDTHS:
            if width % step == 0 and (widest is None or width <= widest):
                yield row, {} if width == row.usual_width else {"width": width}


def _rows(teacher: Architecture | None, input_shape: tuple[int, int, int]) -> list[Architecture]:
    """The teacher's family from its own rank down; for large images, the deployed architectures as well.

    For small images the general ones where there is no such family. A teacher that comes in one width alone
    is not among its own students.
    """
    rows = ARCHITECTURES.values()
    family = _family_of(teacher)
    relatives: list[Architecture] = []
    if teacher is not None and family:
        relatives = [r for r in rows if r.family == family and r.rank <= teacher.rank]
        relatives = [r for r in relatives if r is not teacher or "width" in r.args]
        relatives.sort(key=lambda r: -r.rank)
    if _is_large(input_shape):
        return relatives + [r for r in rows if r.deployed and r.family != family]
    return relatives or [r for r in rows if r.general]


def _is_large(shape: tuple[int, int, int]) -> bool:
    return min(shape[1:]) >= DEPLOYED_SIDE


def _family_of(teacher: Architecture | None) -> str:
    return teacher.family if teacher is not None else ""


def _row(name: str) -> Architecture | None:
    try:
        return get_architecture(name)
    except ConfigError:
        return None
