"""A network of the catalogue among the tensors of a file, whatever its training script called them.

A file has one state dict or several, by the name under which each is stored ("" for the file's own). Within
one, a wrapper's names begin with its own: `module.`, `net.`, `backbone.`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dfad_core.contract.architectures import (
    ARCHITECTURES,
    LAYERS,
    TRANSFORMERS,
    Architecture,
    get_architecture,
)
from dfad_core.contract.config import InputConfig
from dfad_core.contract.errors import TeacherRejected
from dfad_core.contract.inspection import assumed_input
from dfad_core.contract.own_network import OWN_NETWORK
from dfad_core.formats.interface import ONE_LOGIT, Hints, LoadedTeacher
from dfad_core.formats.match import (
    build_with,
    check_layouts,
    children,
    closest,
    default_shape,
    ends,
    first_names,
    fitting_args,
    infer_args,
    num_logits,
    with_two_rows,
)
from dfad_core.formats.metadata import StudentMetadata
from dfad_core.formats.reparametrized import multiplied_out

StateDicts = Mapping[str, Mapping[str, Tensor]]
"""The state dicts of a file by their names."""

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "ema", "module", "teacher", "weights")
"""Usual names of the weights next to optimizer and epoch."""
PREFIXES = ("module.", "model.")
ANYWHERE = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""Parts of names that torch.compile and FSDP add, at any depth."""
MAX_STATE_DICTS = MAX_PREFIXES = 64
BESIDE = re.compile(
    r"(^|_)(criteri(on|a)|loss(es)?|metrics?|optim\w*|sched\w*)(_|$)"
    r"|(^|_)(acc(uracy)?\d*|f1|auroc|auc|precision|recall|conf(usion|mat)\w*)$"
)
"""Parts of the names of what a training script keeps beside its network."""


@dataclass(frozen=True)
class Candidate:
    """Tensors that are the state of a network of the catalogue."""

    place: str
    """State dict and prefix, as in `state_dict.backbone`; "" where there is neither."""
    state_dict: str
    """Name of its state dict."""
    prefix: str
    """What its names begin with there."""
    architecture: Architecture
    args: dict[str, Any]
    tensors: dict[str, Tensor]
    """By the network's own names."""
    taken: frozenset[str]
    """The same by their names in the state dict."""


def load_fitting(
    tensors: Mapping[str, Tensor], hints: Hints, metadata: StudentMetadata | None, notes: list[str]
) -> LoadedTeacher:
    """`load_one_of` for a file with one state dict.

    The architecture that the file's `metadata` name is tried as the caller's would be.
    """
    if metadata is not None and hints.architecture in (None, metadata.architecture) and hints.weights is None:
        check_layouts(tensors)
        hints = Hints(
            metadata.architecture,
            hints.num_classes or metadata.num_classes,
            hints.input or metadata.input,
            hints.args or metadata.args,
        )
        return _built(strip_prefixes(tensors), hints, notes)
    return load_one_of({"": tensors}, hints, notes)


def load_one_of(state_dicts: StateDicts, hints: Hints, notes: list[str]) -> LoadedTeacher:
    """The network of the catalogue that some of the tensors are: the one that the caller names, or the only
    one that fits.

    Raises TeacherRejected: `weights_required` where several sets of tensors fit, `weights_unknown` where none
    is called as the caller says, `layers_left_over` where there are layers beside the network,
    `architecture_required` where no architecture is named and not exactly one fits, and the codes of
    `check_layouts`, `multiplied_out` and `build_with`; ConfigError for an unknown architecture.
    """
    among = ARCHITECTURES.values() if hints.architecture is None else [get_architecture(hints.architecture)]
    if hints.weights is not None:
        state_dicts = _within(state_dicts, hints.weights)
    plain, added, faults = _plain(state_dicts)
    if hints.weights is None and (fault := faults.get(main_name(plain))) is not None:
        raise fault  # another set of weights must not take the place of the usual one
    readable = {name: tensors for name, tensors in plain.items() if name not in faults}
    found = [c for name, tensors in readable.items() for c in _candidates(name, tensors, among, hints)]
    chosen = _chosen(found, readable)
    if chosen is None:
        if faults:
            raise next(iter(faults.values()))
        name = main_name(plain)
        return _built(strip_prefixes(plain[name]), hints, [*notes, *added[name]])
    rest = sorted(set(plain[chosen.state_dict]) - chosen.taken)
    about = [f"read the weights under {chosen.place!r}"] if chosen.place else []
    about += [f"left out {first_names(rest)}"] if rest else []
    about += [f"could not read {name!r}: {fault.message}" for name, fault in faults.items()]
    about += [f"inferred architecture {chosen.architecture.name}"] if hints.architecture is None else []
    named = Hints(chosen.architecture.name, hints.num_classes, hints.input, chosen.args)
    return _built(chosen.tensors, named, [*notes, *added[chosen.state_dict], *about])


def main_name(state_dicts: StateDicts) -> str:
    """Name of the state dict that is most likely the network: a usual one, or the one with most tensors."""
    usual = [name for wrapper in WRAPPERS for name in state_dicts if name.partition(".")[0] == wrapper]
    return usual[0] if usual else max(state_dicts, key=lambda name: len(state_dicts[name]))


def strip_prefixes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`tensors` without the parts that DataParallel, torch.compile, FSDP and wrappers add to every name."""
    stripped = _without_parts(tensors)
    changed = True
    while changed:
        changed = False
        for prefix in PREFIXES:
            if stripped and all(name.startswith(prefix) for name in stripped):
                stripped = {name[len(prefix) :]: tensor for name, tensor in stripped.items()}
                changed = True
    return stripped


def _without_parts(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`tensors` without the parts that may be anywhere in a name. Raises TeacherRejected (`corrupt_file`)."""
    plain: dict[str, Tensor] = {}
    for whole_name, tensor in tensors.items():
        name = whole_name
        for part in ANYWHERE:
            name = name.replace(part, "")
        if name in plain:
            raise TeacherRejected(f"The file names {name[:200]} twice.", code="corrupt_file")
        plain[name] = tensor
    return plain


def _plain(
    state_dicts: StateDicts,
) -> tuple[dict[str, dict[str, Tensor]], dict[str, list[str]], dict[str, TeacherRejected]]:
    """The state dicts by the names of plain networks, notes on each, and why some are as they were."""
    plain: dict[str, dict[str, Tensor]] = {}
    notes: dict[str, list[str]] = {}
    faults: dict[str, TeacherRejected] = {}
    for name, tensors in state_dicts.items():
        plain[name], notes[name] = dict(tensors), []
        try:
            check_layouts(tensors)
            plain[name], notes[name] = multiplied_out(_without_parts(tensors))
        except TeacherRejected as error:
            faults[name] = error
    return plain, notes, faults


def _candidates(
    name: str, tensors: Mapping[str, Tensor], among: Iterable[Architecture], hints: Hints
) -> Iterator[Candidate]:
    """Each network of `among` with each prefix that makes it fit the state dict called `name`."""
    shape = hints.input.shape if hints.input else None
    for architecture in among:
        if architecture in (LAYERS, TRANSFORMERS):
            continue  # their names follow from their arguments
        tops = children(architecture)
        for prefix in _prefixes(architecture, tensors):
            own = {
                n: _current_name(architecture, n, prefix, tensors)
                for n in tensors
                if n.startswith(prefix) and n[len(prefix) :].partition(".")[0] in tops
            }
            inner = {short: tensors[n] for n, short in own.items()}
            args = fitting_args(architecture, inner, hints.num_classes, shape, hints.args)
            if args is not None:
                place = ".".join(part for part in (name, prefix.rstrip(".")) if part)
                yield Candidate(place, name, prefix, architecture, args, inner, frozenset(own))


def _current_name(architecture: Architecture, name: str, prefix: str, tensors: Mapping[str, Tensor]) -> str:
    """`name` without `prefix`, and as the network calls it where an older file has another name."""
    short = name[len(prefix) :]
    current = short
    for pattern, replacement in architecture.old_names:
        current = re.sub(pattern, replacement, current)
    return short if f"{prefix}{current}" in tensors else current


def _prefixes(architecture: Architecture, tensors: Mapping[str, Tensor]) -> list[str]:
    """What stands before the architecture's first and last weight, MAX_PREFIXES at most."""
    first, last = ends(architecture)
    found = {n[: -len(first)] for n in tensors if f".{n}".endswith(f".{first}")}
    return sorted(prefix for prefix in found if f"{prefix}{last}" in tensors)[:MAX_PREFIXES]


def _within(state_dicts: StateDicts, weights: str) -> StateDicts:
    """The part of a file that the caller names. Raises TeacherRejected (`weights_unknown`)."""
    part: dict[str, Mapping[str, Tensor]] = {}
    for name, tensors in state_dicts.items():
        if name == weights or name.startswith(f"{weights}."):
            part[name] = tensors
        elif not name or weights.startswith(f"{name}."):
            prefix = f"{weights[len(name) + 1 :] if name else weights}."
            inner = {n[len(prefix) :]: tensor for n, tensor in tensors.items() if n.startswith(prefix)}
            part |= {weights: inner} if inner else {}
    if not part:
        names = sorted(
            {name for name in state_dicts if name} | {n.partition(".")[0] for n in state_dicts.get("", ())}
        )
        text = f"The file has no weights under {weights[:200]!r}. It has {first_names(names)}."
        raise TeacherRejected(text, code="weights_unknown", param="weights")
    return part


def _chosen(found: list[Candidate], plain: StateDicts) -> Candidate | None:
    """The one candidate; None where nothing fits. Raises TeacherRejected."""
    rest = _layers_left_over(found, plain)
    if rest:
        for candidate in found:
            if candidate.place and any(not name.startswith(f"{candidate.place}.") for name in rest):
                raise _left_over(candidate, rest)
        return None
    if len(found) > len({candidate.place for candidate in found}):
        return None  # two architectures fit the same tensors
    if len(found) > 1 and not all(_same(found[0], candidate) for candidate in found[1:]):
        raise _several(found)
    return found[0] if found else None


def _layers_left_over(found: Iterable[Candidate], plain: StateDicts) -> list[str]:
    """Matrices and kernels of the file that belong to no candidate, loss, metric or optimizer."""
    taken = {(candidate.state_dict, name) for candidate in found for name in candidate.taken}
    return [
        f"{place}.{name}".lstrip(".")
        for place, tensors in plain.items()
        for name, tensor in tensors.items()
        if (place, name) not in taken
        and tensor.dim() >= 2
        and tensor.is_floating_point()
        and not is_beside(f"{place}.{name}")
    ]


def is_beside(path: str) -> bool:
    """Whether a tensor, by its dictionaries and name, is what a training script keeps beside its network."""
    return any(BESIDE.search(part) for part in path.split(".")[:-1])


def _same(one: Candidate, other: Candidate) -> bool:
    return (
        one.architecture == other.architecture
        and one.tensors.keys() == other.tensors.keys()
        and all(torch.equal(tensor, other.tensors[name]) for name, tensor in one.tensors.items())
    )


def _left_over(candidate: Candidate, names: list[str]) -> TeacherRejected:
    text = (
        f"The weights under {candidate.place[:100]!r} are those of {candidate.architecture.name}, but the "
        f"file has other layers beside them: {first_names(names)}. If the classifier does not use those, "
        f"name the first in `weights` (--weights {candidate.place[:100]}). {OWN_NETWORK}"
    )
    return TeacherRejected(text, code="layers_left_over", param="weights")


def _several(found: list[Candidate]) -> TeacherRejected:
    places = [candidate.place or "" for candidate in found]
    listed = [f"{c.place[:100] or 'the file itself'} ({c.architecture.name})" for c in found]
    last = next(place for place in reversed(places) if place)
    text = (
        f"Several sets of weights fit: {first_names(listed)}. Name one of them in `weights` "
        f"(--weights {last[:100]})."
    )
    return TeacherRejected(text, code="weights_required", param="weights")


def _built(tensors: Mapping[str, Tensor], hints: Hints, notes: list[str]) -> LoadedTeacher:
    """The network that the hints name, with `tensors` as its state. Raises TeacherRejected, ConfigError."""
    shape = hints.input.shape if hints.input else None
    if hints.architecture is None:
        near = closest(tensors, hints.num_classes, shape)
        raise TeacherRejected(
            "The file does not name its architecture, and its weights fit none or several of the "
            f"catalogue; name it.{' The closest: ' if near else ''}{' '.join(near)}"
            f"{'.' if near else ''} {OWN_NETWORK}",
            code="architecture_required",
            param="architecture",
        )
    row = get_architecture(hints.architecture)
    args = dict(hints.args or infer_args(row, tensors))
    shape = shape or default_shape(row, tensors)
    classes = num_logits(row, tensors, hints.num_classes)
    if classes == 1:
        tensors, classes, notes = with_two_rows(row, tensors), 2, [*notes, ONE_LOGIT]
        if hints.num_classes != 1:
            hints.check_classes("The file", classes)
    module = build_with(tensors, row.name, num_classes=classes, input_shape=shape, args=args)
    assert classes is not None, "a network that fits has a head"
    assumed = hints.input is None
    if assumed:
        notes = [*notes, assumed_input(shape)]
    return LoadedTeacher(
        module,
        row.name,
        args,
        classes,
        hints.input or InputConfig(shape),
        notes=notes,
        input_assumed=assumed,
    )
