"""JSON as we accept it: valid, shallow enough, no field twice, no NaN, no NUL."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from app.errors import FieldProblem, InvalidBody, ServiceError
from app.problems import invalid_body

Model = TypeVar("Model", bound=BaseModel)


class _NotANumber(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field stands twice")
    return found


def _refuse_constant(name: str) -> None:
    raise _NotANumber(name)


def parse_json(body: bytes) -> dict[str, Any]:
    """The object in `body`. Raises ServiceError 400 `malformed_json`, or InvalidBody."""
    try:
        value = json.loads(body, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except _NotANumber as error:
        raise InvalidBody(f"{error} is not a JSON number.") from error
    except (ValueError, RecursionError) as error:
        raise ServiceError(400, "malformed_json", "The JSON cannot be read.") from error
    if not isinstance(value, dict):
        raise InvalidBody("The JSON must be an object.", FieldProblem("", "not an object"))
    _refuse_nul(value, "")
    return value


def _refuse_nul(value: Any, pointer: str) -> None:
    if isinstance(value, str) and not _storable(value):
        raise InvalidBody("A text cannot be stored.", FieldProblem(pointer, "has a NUL or a lone surrogate"))
    if isinstance(value, dict):
        for key, inner in value.items():
            _refuse_nul(key, pointer)
            _refuse_nul(inner, f"{pointer}/{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _refuse_nul(inner, f"{pointer}/{number}")


def _storable(text: str) -> bool:
    """PostgreSQL stores neither NUL nor lone surrogates."""
    return "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


def parse_model(body: bytes, model: type[Model]) -> tuple[Model, dict[str, Any]]:
    """`body` as `model`, without silent conversions, and as it was sent."""
    value = parse_json(body)
    try:
        return model.model_validate_json(json.dumps(value), strict=True), value
    except ValidationError as error:
        raise invalid_body(error) from error
