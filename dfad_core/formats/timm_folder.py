"""Networks of timm in a folder with a config.json, as timm and transformers' timm_wrapper write it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from dfad_core.contract.architectures import get_architecture
from dfad_core.contract.config import InputConfig
from dfad_core.contract.errors import ConfigError, TeacherRejected
from dfad_core.contract.own_network import OWN_NETWORK
from dfad_core.formats.class_names import found_in
from dfad_core.formats.fitting import load_fitting
from dfad_core.formats.interface import Hints, LoadedTeacher

WRAPPER = "timm_wrapper"
"""transformers' model type for a network of timm."""
PREFIX = "timm_model."
"""What the names of its tensors begin with."""
SAME = {
    **{f"resnet{depth}": f"torchvision:resnet{depth}" for depth in (18, 34, 50, 101)},
    "densenet121": "torchvision:densenet121",
}
"""Networks that timm and torchvision build alike, tensors' names included."""
PLAIN_ARGS = ("num_classes", "in_chans", "img_size", "global_pool")
"""Arguments of a network that the tensors tell, or that are checked."""
ONLY_IN_TRAINING = ("drop_rate", "drop_path_rate", "proj_drop_rate", "attn_drop_rate", "pretrained")


def is_of_timm(config: Mapping[str, Any]) -> bool:
    """Whether a config.json describes a network of timm."""
    return config.get("model_type", WRAPPER) == WRAPPER and isinstance(config.get("architecture"), str)


def load(config: Mapping[str, Any], tensors: Mapping[str, Tensor], hints: Hints) -> LoadedTeacher:
    """The network that the config names, with the folder's weights.

    Raises TeacherRejected: `unsupported_architecture` for a network that timm does not have here or that is
    built with arguments of its own, `input_required` for an invalid size, mean or std, and the codes of
    `load_fitting`.
    """
    name = config["architecture"].partition(".")[0]  # behind the point is the name of the weights
    if not re.fullmatch(r"[a-z0-9_]{1,80}", name):
        raise _refused("The config.json names no network of timm.", "architecture")
    _check_args(config)
    if all(n.startswith(PREFIX) for n in tensors):
        tensors = {n.removeprefix(PREFIX): tensor for n, tensor in tensors.items()}
    hints = replace(hints, architecture=SAME.get(name, f"timm:{name}"), input=hints.input or _input(config))
    is_normalised = hints.input is not None and hints.input.mean is not None
    notes = [] if is_normalised else ["mean and std are not known"]
    try:
        teacher = load_fitting(tensors, hints, None, notes)
    except ConfigError as error:  # timm is not here, or has no such network
        raise _refused(f"The folder's network is {name} of timm: {error.message}.", "architecture") from error
    _check_pooling(config, teacher)
    _check_classes(config, teacher)
    teacher.class_names = found_in(config, teacher.num_classes)
    return teacher


def _check_args(config: Mapping[str, Any]) -> None:
    """Refuse a network with arguments that change what it computes. Raises TeacherRejected."""
    args = config.get("model_args") or {}
    if not isinstance(args, Mapping):
        raise TeacherRejected("model_args of config.json is no object.", code="corrupt_file", param="config")
    others = sorted(str(name) for name in set(args) - {*PLAIN_ARGS, *ONLY_IN_TRAINING})
    if others:
        text = f"The network was built with arguments that are not read ({', '.join(others)[:200]})."
        raise _refused(text, "model_args")


def _check_classes(config: Mapping[str, Any], teacher: LoadedTeacher) -> None:
    """Refuse a config with another number of classes than its weights have. Raises TeacherRejected."""
    for place in (config, config.get("model_args") or {}):
        classes = place.get("num_classes", teacher.num_classes)
        if classes != teacher.num_classes and (classes, teacher.num_classes) != (1, 2):
            text = f"The config has {str(classes)[:20]} classes, and the weights have {teacher.num_classes}."
            raise TeacherRejected(text, code="architecture_mismatch", param="num_classes")


def _check_pooling(config: Mapping[str, Any], teacher: LoadedTeacher) -> None:
    """Refuse a network whose pooling is not its usual one, which no tensor tells. Raises TeacherRejected."""
    args = config.get("model_args") or {}
    in_catalogue = "token" if get_architecture(teacher.architecture).positions else "avg"
    usual = getattr(teacher.module, "global_pool", in_catalogue)
    usual = getattr(usual, "pool_type", usual)
    for wanted in (config.get("global_pool"), args.get("global_pool")):
        if wanted is not None and isinstance(usual, str) and usual and wanted != usual:
            text = f"The network pools by {str(wanted)[:40]!r} instead of {usual!r}, which is not read."
            raise _refused(text, "global_pool")


def _input(config: Mapping[str, Any]) -> InputConfig | None:
    """Size, mean and std that the config tells; None where it tells no size. Raises TeacherRejected."""
    about = config.get("pretrained_cfg") or config  # older folders have the entries beside the architecture
    if isinstance(about, Mapping) and about.get("input_size") is None:
        return None
    try:
        if not isinstance(about, Mapping):
            raise ConfigError("must be an object", param="pretrained_cfg")
        statistics = {name: about.get(name) for name in ("mean", "std")}
        return InputConfig.from_json({"shape": about["input_size"], **statistics})
    except ConfigError as error:
        text = f"{error.param} in pretrained_cfg {error.message}; name the teacher's input."
        raise TeacherRejected(text, code="input_required", param="input") from error


def _refused(text: str, param: str) -> TeacherRejected:
    return TeacherRejected(f"{text} {OWN_NETWORK}", code="unsupported_architecture", param=param)
