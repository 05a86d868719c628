"""What a job is to do, as frozen dataclasses: read from a job's JSON, or filled in by a caller.

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
STUDENT_WAYS = ("architecture", "layers", "transformers", "target")
Config = TypeVar("Config", MethodConfig, BudgetConfig, TrainingConfig, TargetConfig)


@dataclass(frozen=True)
class TeacherSpec:
    """What the teacher's file is; whatever is None is read from the file."""

    format: str = "auto"
    architecture: str | None = None
    args: Mapping[str, Any] = field(default_factory=dict)
    num_classes: int | None = None
    input: InputConfig | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TeacherSpec:
        """Raises ConfigError for an input that cannot be."""
        source = data.get("input")
        return cls(
            format=data.get("format") or "auto",
            architecture=data.get("architecture"),
            args=dict(data.get("args") or {}),
            num_classes=data.get("num_classes"),
            input=None if source is None else InputConfig.from_json(source),
        )


@dataclass(frozen=True)
class StudentSpec:
    """The network to train, named in exactly one of four ways."""

    architecture: str | None = None
    """A name of the catalogue, or `timm:<name>`."""
    args: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of `architecture`."""
    layers: Sequence[Mapping[str, Any]] | None = None
    """A list of layers; see `dfad_core.contract.layer_list`."""
    transformers: Mapping[str, Any] | None = None
    """A config of one of transformers' image classifiers."""
    target: TargetConfig | None = None
    """Limits: the largest student of the teacher's family within them is taken."""

    def __post_init__(self) -> None:
        if sum(getattr(self, way) is not None for way in STUDENT_WAYS) != 1:
            raise ConfigError(f"name the student by one of {', '.join(STUDENT_WAYS)}", param="student")
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
        """Raises ConfigError for a student that cannot be."""
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
    """Everything that decides what a job's student is, beside the files."""

    student: StudentSpec
    teacher: TeacherSpec = field(default_factory=TeacherSpec)
    method: MethodConfig = field(default_factory=MethodConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    exports: tuple[str, ...] = ()
    """Formats of the student beside safetensors."""
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise ConfigError(f"device is one of {', '.join(DEVICES)}", param="device")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> JobSpec:
        """The spec of a job's resolved JSON. Raises ConfigError for settings that cannot work."""
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
        """Plain JSON of which `from_json` makes the same spec."""
        return asdict(self)


def _config(kind: type[Config], data: Mapping[str, Any], param: str) -> Config:
    """An object of JSON as one of the config's parts. Raises ConfigError."""
    try:
        return kind(**data)
    except TypeError as error:
        raise ConfigError(
            f"has an entry that is unknown or of the wrong type: {error}", param=param
        ) from error
