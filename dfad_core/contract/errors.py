"""Errors of the engine. The worker or the HTTP layer translates each of them, once."""

from __future__ import annotations

from typing import Any


class DfadError(Exception):
    """Base of everything the engine raises on purpose.

    `code` is stable and snake_case; `param` names the setting or tensor at fault, where one is.
    """

    code = "engine_error"

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        if code is not None:
            self.code = code


class ConfigError(DfadError, ValueError):
    """A setting has a value that cannot work."""

    code = "invalid_config"


class TeacherRejected(DfadError, ValueError):
    """The teacher's file or weights cannot be used; `code` says which rule it broke."""

    code = "teacher_rejected"


class MultiLabelRejected(TeacherRejected):
    """The teacher answers yes or no for each class by itself; a student learns one class out of several."""

    code = "multi_label"

    def __init__(self) -> None:
        super().__init__(
            "The teacher answers yes or no for each class by itself (a sigmoid for each, multi-label), and "
            "students here learn one class out of several. Where one class is right for each image, export "
            "the teacher without the sigmoid."
        )


class ShapeError(DfadError, ValueError):
    """A network and an input shape do not fit each other."""

    code = "shape_mismatch"


class DivergedError(DfadError, RuntimeError):
    """A loss became non-finite; raised before the update that would have used it.

    `result` holds the student as trained until then, where there is one.
    """

    code = "diverged"
    result: Any = None


class CheckpointError(DfadError, RuntimeError):
    """A checkpoint is damaged or belongs to another job."""

    code = "bad_checkpoint"


class EvaluationRejected(DfadError, ValueError):
    """The labelled data for measuring accuracy cannot be used."""

    code = "bad_evaluation_data"


class ExportError(DfadError, RuntimeError):
    """A student could not be written in a format, or the written student gives other logits."""

    code = "export_failed"


class Stopped(DfadError):
    """The engine obeyed a request to stop; `result` holds the student as trained until then."""

    code = "stopped"

    def __init__(self, message: str, *, result: Any = None) -> None:
        super().__init__(message)
        self.result = result
