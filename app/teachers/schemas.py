"""What may be said of a teacher's file. Parameters of the engine come from its own dataclasses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from app.http.fields import NO_CONTROL, Strict
from dfad_core.contract.architectures import ARCHITECTURES, LIBRARY_NAME, get_architecture
from dfad_core.contract.config import InputConfig
from dfad_core.contract.errors import ConfigError, ShapeError
from dfad_core.contract.formats import TEACHER_FORMATS

# Described as a choice; `get_architecture` refuses others with a code of its own.
_NAMES = [{"enum": list(ARCHITECTURES)}, {"pattern": f"^{LIBRARY_NAME}$"}]
ArchitectureName = Annotated[str, Field(json_schema_extra={"anyOf": _NAMES})]
if TYPE_CHECKING:
    TeacherFormat = str
else:  # choices that a type checker cannot know: the catalogue's names
    TeacherFormat = Literal[("auto", *TEACHER_FORMATS)]
Args = Annotated[dict[str, int], Field(max_length=8)]


def check_architecture(name: str | None, args: dict[str, int]) -> None:
    """Raise ConfigError for a name that is not in the catalogue, or arguments that do not fit it."""
    if name is not None:
        get_architecture(name)
    if args and name is None:
        raise ConfigError("args need an architecture", param="args")
    if name is not None:
        try:
            get_architecture(name).check_args(args)
        except ConfigError as error:
            raise ConfigError(error.message, param=f"args.{error.param}") from error


def _yes_or_no(num_classes: Any) -> Any:
    """One logit tells between two classes."""
    return 2 if type(num_classes) is int and num_classes == 1 else num_classes


class TeacherSpec(Strict):
    """What the uploaded file is; whatever is left out is read from the file."""

    format: TeacherFormat = "auto"
    architecture: ArchitectureName | None = None
    args: Args = {}  # noqa: RUF012  (pydantic copies it)
    num_classes: Annotated[int, Field(ge=2, le=100_000), BeforeValidator(_yes_or_no)] | None = None
    input: InputConfig | None = None
    output: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    """Name of the output with the logits, where an ONNX file has several."""
    weights: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NO_CONTROL)] | None = None
    """Which of several sets of weights in the file, by its name there: `ema`, `state_dict.backbone`."""

    @model_validator(mode="after")
    def _fits(self) -> TeacherSpec:
        check_architecture(self.architecture, self.args)
        if self.architecture is not None and self.input is not None:
            try:
                get_architecture(self.architecture).check_input(self.input.shape)
            except ShapeError as error:
                raise ConfigError(error.message, code=error.code, param="input") from error
        return self


class TeacherRequest(TeacherSpec):
    """A teacher whose file was uploaded in parts."""

    upload_id: str
