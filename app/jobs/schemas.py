"""What may be asked of a job. Parameters of the engine come from its own dataclasses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from app.http.fields import Labels, Strict
from app.platform.text import storable
from app.teachers.schemas import ArchitectureName, Args, TeacherSpec, check_architecture
from dfad_core.contract import layer_list, transformers_config
from dfad_core.contract.architectures import get_architecture
from dfad_core.contract.config import BudgetConfig, MethodConfig, TargetConfig, TrainingConfig
from dfad_core.contract.errors import ConfigError, ShapeError
from dfad_core.contract.formats import DEFAULT, FORMATS, STUDENT_FORMATS
from dfad_core.contract.inspection import assumed_input
from dfad_core.contract.methods import get_method

if TYPE_CHECKING:
    ExportName = str
else:  # choices that a type checker cannot know: the catalogue's names
    ExportName = Literal[STUDENT_FORMATS]


class InitialWeights(Strict):
    """Where a student's first weights are: an upload, or an artifact such as an earlier student."""

    upload_id: str | None = None
    artifact_id: str | None = None

    @model_validator(mode="after")
    def _one(self) -> InitialWeights:
        if (self.upload_id is None) == (self.artifact_id is None):
            raise ConfigError("name an upload_id or an artifact_id", param="upload_id")
        return self


class StudentSpec(Strict):
    """The network to train: by name, as layers, as a config of transformers, or by what it may cost."""

    architecture: ArchitectureName | None = None
    args: Args = {}  # noqa: RUF012  (pydantic copies it)
    layers: Annotated[list[dict[str, Any]], Field(max_length=layer_list.MAX_LAYERS)] | None = None
    """See `dfad_core.contract.layer_list`; settings that are left out are filled in."""
    transformers: dict[str, Any] | None = None
    """A config of one of transformers' image classifiers, as in its config.json. Classes, channels and size
    of the images follow from the teacher."""
    target: TargetConfig | None = None
    """The largest student of the teacher's family that keeps to it."""
    init_from: InitialWeights | None = None
    """Weights to begin with, as far as names and shapes fit."""

    @model_validator(mode="after")
    def _fits(self) -> StudentSpec:
        ways = ("architecture", "layers", "transformers", "target")
        if sum(getattr(self, name) is not None for name in ways) != 1:
            raise ConfigError(f"name one of {', '.join(ways)}", param="architecture")
        if self.architecture in (layer_list.NAME, transformers_config.NAME):
            raise ConfigError(f"give it in `{self.architecture}`", param="architecture")
        check_architecture(self.architecture, self.args)
        if self.layers is not None:
            self.layers = layer_list.checked(self.layers)
        if self.transformers is not None:
            try:
                self.transformers = transformers_config.checked(self.transformers)
            except ConfigError as error:
                param = f"transformers.{error.param}"
                raise ConfigError(error.message, code=error.code, param=param) from error
        return self

    def check_input(self, shape: tuple[int, int, int], num_classes: int | None) -> None:
        """Raise ShapeError or ConfigError where images of `shape` (C, H, W) do not fit."""
        if self.architecture is not None:
            get_architecture(self.architecture).check_input(shape)
        if self.layers is not None:
            layer_list.checked(self.layers, shape, num_classes)


class EvaluationSpec(Strict):
    """Labelled data (npz, a zip of class folders, parquet) to measure accuracy on, and for nothing else."""

    upload_id: str | None = None


class JobSpec(Strict):
    """A job as the client asks for it."""

    teacher: TeacherSpec = Field(default_factory=TeacherSpec)
    student: StudentSpec
    method: MethodConfig = Field(default_factory=MethodConfig)
    budget: BudgetConfig = Field(default_factory=BudgetConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    evaluation: EvaluationSpec = Field(default_factory=EvaluationSpec)
    exports: Annotated[list[ExportName], Field(max_length=len(STUDENT_FORMATS))] = [DEFAULT]  # noqa: RUF012  (pydantic copies it)
    """Formats of the student; safetensors is always among them."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    keep: bool = False
    metadata: Labels = {}  # noqa: RUF012  (pydantic copies it)

    @field_validator("exports")
    @classmethod
    def _with_safetensors(cls, names: list[ExportName]) -> list[ExportName]:
        return [name for name in STUDENT_FORMATS if name == DEFAULT or name in names]

    @field_validator("method")
    @classmethod
    def _known_method(cls, method: MethodConfig) -> MethodConfig:
        get_method(method.name)
        return method

    @model_validator(mode="after")
    def _student_fits(self) -> JobSpec:
        for name in self.exports:
            kind = FORMATS[name].student
            if kind is not None and getattr(self.student, kind) is None:
                raise ConfigError(f"{name} needs a student from a {kind} config", param="exports")
        shape = self.input_shape()
        if shape is not None:
            try:
                self.student.check_input(shape, self.teacher.num_classes)
            except ShapeError as error:
                about = f". {assumed_input(shape)}" if self.teacher.input is None else ""
                raise ConfigError(error.message + about, code=error.code, param="student") from error
            except ConfigError as error:
                raise ConfigError(error.message, code=error.code, param=f"student.{error.param}") from error
        return self

    def input_shape(self) -> tuple[int, int, int] | None:
        """Of teacher and student, where the spec tells."""
        if self.teacher.input is not None:
            return self.teacher.input.shape
        if self.teacher.architecture is not None:
            return get_architecture(self.teacher.architecture).input_shape
        return None

    def resolved(self) -> dict[str, Any]:
        """Plain JSON with every default filled in."""
        return self.model_dump(mode="json")


class EvaluationReport(Strict):
    """Accuracy that the user measured at home, on data that the service never sees."""

    data: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    """What it was measured on, in the user's words."""
    images: Annotated[int, Field(ge=1, le=2**53)] | None = None
    teacher: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share that the teacher gets right."""
    student: Annotated[float, Field(ge=0, le=1)]

    @field_validator("data")
    @classmethod
    def _plain(cls, data: str) -> str:
        if not storable(data):
            raise ConfigError("has characters that cannot be kept")
        return data


class MeasurementRequest(Strict):
    """Labelled data to measure a finished job's accuracy on, uploaded as for a job's `evaluation`."""

    upload_id: str


class JobRequest(JobSpec):
    """A job for a teacher that is here already, or for a file that was uploaded in parts: one of the two."""

    teacher_id: str | None = None
    upload_id: str | None = None


class JobPatch(Strict):
    """What may be changed of a job."""

    metadata: Labels | None = None
    keep: bool | None = None

    @model_validator(mode="after")
    def _something(self) -> JobPatch:
        if self.metadata is None and self.keep is None:
            raise ConfigError("name metadata or keep", param="metadata")
        return self


def with_teacher_defaults(spec: JobSpec, known: dict[str, Any]) -> JobSpec:
    """The spec with what the teacher's own upload said, where the job says nothing.

    Raises ValidationError where the two do not go together.
    """
    asked = spec.teacher.model_dump(mode="json", exclude_unset=True)
    if "architecture" in asked and asked["architecture"] != known.get("architecture"):
        known = {name: value for name, value in known.items() if name != "args"}
    return JobSpec.model_validate({**spec.resolved(), "teacher": {**known, **asked}})
