"""Settings of a job, as frozen dataclasses: read from a job's JSON, or filled in by a caller.

A job's JSON holds more than the engine needs (labels, priority, ids of uploads); `from_json` ignores that.
Torch-free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from dfad_core.contract import layer_list, transformers_config
from dfad_core.contract.architectures import get_architecture
from dfad_core.contract.config import BudgetConfig, InputConfig, MethodConfig, TargetConfig, TrainingConfig
from dfad_core.contract.errors import ConfigError
from dfad_core.contract.serialization import JsonObject

DEVICES = ("auto", "cpu", "cuda")
STUDENT_KINDS = ("architecture", "layers", "transformers", "target")
Config = TypeVar("Config", MethodConfig, BudgetConfig, TrainingConfig, TargetConfig)


@dataclass(frozen=True)
class TeacherSpec:
    """What the caller knows of the teacher's file; a field that is None is read from the file."""

    format: str = "auto"
    architecture: str | None = None
    args: Mapping[str, Any] = field(default_factory=dict)
    num_classes: int | None = None
    input: InputConfig | None = None
    output: str | None = None
    """Name of the output with the logits, where an ONNX file has several."""
    weights: str | None = None
    """Name of one of several sets of weights in the file, such as `ema`."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TeacherSpec:
        """The spec in a job's JSON. Raises ConfigError for an invalid input."""
        source = data.get("input")
        return cls(
            format=data.get("format") or "auto",
            architecture=data.get("architecture"),
            args=dict(data.get("args") or {}),
            num_classes=data.get("num_classes"),
            input=None if source is None else InputConfig.from_json(source),
            output=data.get("output"),
            weights=data.get("weights"),
        )


@dataclass(frozen=True)
class StudentSpec:
    """The network to train, named in exactly one of four ways."""

    architecture: str | None = None
    """A name of the catalogue, `timm:<name>` or `torchvision:<name>`."""
    args: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of `architecture`."""
    layers: Sequence[Mapping[str, Any]] | None = None
    """A list of layers; see `dfad_core.contract.layer_list`."""
    transformers: Mapping[str, Any] | None = None
    """A config of one of transformers' image classifiers."""
    target: TargetConfig | None = None
    """Limits on cost; the student is the largest one of the teacher's family within them."""

    def __post_init__(self) -> None:
        if sum(getattr(self, name) is not None for name in STUDENT_KINDS) != 1:
            raise ConfigError(f"name the student by one of {', '.join(STUDENT_KINDS)}", param="student")
        if self.args and self.architecture is None:
            raise ConfigError("args need an architecture", param="student.args")
        if self.architecture is not None:
            get_architecture(self.architecture).check_args(self.args)
        if self.layers is not None:
            layer_list.checked(self.layers)
        if self.transformers is not None:
            transformers_config.checked(self.transformers)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StudentSpec:
        """The spec in a job's JSON. Raises ConfigError for an invalid student."""
        target = data.get("target")
        return cls(
            architecture=data.get("architecture"),
            args=dict(data.get("args") or {}),
            layers=data.get("layers"),
            transformers=data.get("transformers"),
            target=None if target is None else _config(TargetConfig, target, "student.target"),
        )


@dataclass(frozen=True)
class JobSpec:
    """All settings that decide what a job's student is; the files come separately."""

    student: StudentSpec
    teacher: TeacherSpec = field(default_factory=TeacherSpec)
    method: MethodConfig = field(default_factory=MethodConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    exports: tuple[str, ...] = ()
    """Formats of the student besides safetensors."""
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise ConfigError(f"device is one of {', '.join(DEVICES)}", param="device")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> JobSpec:
        """The spec in a job's JSON. Raises ConfigError for invalid settings."""
        if not isinstance(data.get("student"), Mapping):
            raise ConfigError("name the student", param="student")
        return cls(
            student=StudentSpec.from_json(data["student"]),
            teacher=TeacherSpec.from_json(data.get("teacher") or {}),
            method=_config(MethodConfig, data.get("method") or {}, "method"),
            budget=_config(BudgetConfig, data.get("budget") or {}, "budget"),
            training=_config(TrainingConfig, data.get("training") or {}, "training"),
            exports=tuple(data.get("exports") or ()),
            device=data.get("device", "auto"),
            seed=data.get("seed", 0),
        )

    def to_json(self) -> JsonObject:
        """Plain JSON, from which `from_json` restores the spec."""
        return asdict(self)


def _config(kind: type[Config], data: Mapping[str, Any], param: str) -> Config:
    """A JSON object as one part of the config. Raises ConfigError."""
    try:
        return kind(**data)
    except TypeError as error:
        raise ConfigError(
            f"has an entry that is unknown or of the wrong type: {error}", param=param
        ) from error
