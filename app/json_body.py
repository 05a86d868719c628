"""JSON as we accept it: valid, shallow enough, no field twice, no NaN, no NUL."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from app.errors import FieldProblem, InvalidBody, ServiceError
from app.problems import invalid_body, pointer_of
from app.text import storable

Model = TypeVar("Model", bound=BaseModel)
MAX_DEPTH = 64
"""Far above any spec; Python's own limit differs from version to version."""


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
    _check(value, ())
    return value


def _check(value: Any, location: tuple[str | int, ...]) -> None:
    """Refuse what is nested too deeply and text that a database cannot hold."""
    if len(location) > MAX_DEPTH:
        raise ServiceError(400, "malformed_json", f"The JSON is nested more than {MAX_DEPTH} levels deep.")
    if isinstance(value, str) and not storable(value):
        problem = FieldProblem(pointer_of(location), "has a NUL or a lone surrogate")
        raise InvalidBody("A text cannot be stored.", problem)
    if isinstance(value, dict):
        for key, inner in value.items():
            _check(key, location)
            _check(inner, (*location, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _check(inner, (*location, number))


def parse_model(body: bytes, model: type[Model]) -> tuple[Model, dict[str, Any]]:
    """`body` as `model`, without silent conversions, and as it was sent."""
    value = parse_json(body)
    try:
        return model.model_validate_json(json.dumps(value), strict=True), value
    except ValidationError as error:
        raise invalid_body(error) from error
