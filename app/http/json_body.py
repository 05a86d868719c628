"""JSON as we accept it: valid, shallow and small enough, no field twice, no NaN, no NUL.

A megabyte of fields that do not exist takes seconds of Python: their number is looked at before any is read,
and what is read is read in a thread, see `app.http.reading`.
"""

from __future__ import annotations

import json
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from app.http.problems import invalid_body, pointer_of
from app.http.reading import run_parse
from app.platform.errors import FieldProblem, InvalidBody, ServiceError
from app.platform.text import storable
from dfad_core.contract.serialization import JsonObject

Model = TypeVar("Model", bound=BaseModel)
MAX_DEPTH = 64
"""Far above any spec; Python's own limit differs from version to version."""
MAX_VALUES = 50_000
"""Fields and items of one body, and commas in its texts. A spec may name the 21,843 classes of ImageNet."""
MAX_FIELDS = 256
"""Of one object. Each that does not exist is a fault by itself, which costs more than to read it."""
FREE = "transformers"
"""In a library's own configuration no field is a fault, and one object has a name for each class."""
_MARKS = (b",", b"[", b"{")


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
    if sum(map(body.count, _MARKS)) > MAX_VALUES:  # every value but the first of a container follows one
        text = f"The JSON has more than {MAX_VALUES} fields and items."
        raise ServiceError(400, "malformed_json", text)
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
    """Refuse what is nested too deeply, objects of many fields, and text that a database cannot hold."""
    if len(location) > MAX_DEPTH:
        raise ServiceError(400, "malformed_json", f"The JSON is nested more than {MAX_DEPTH} levels deep.")
    if isinstance(value, str) and not storable(value):
        problem = FieldProblem(pointer_of(location), "has a NUL or a lone surrogate")
        raise InvalidBody("A text cannot be stored.", problem)
    if isinstance(value, dict):
        if len(value) > MAX_FIELDS and FREE not in location:
            text = f"An object of the JSON has more than {MAX_FIELDS} fields."
            raise ServiceError(400, "malformed_json", text)
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


async def read_model(body: bytes, model: type[Model]) -> tuple[Model, dict[str, Any]]:
    """As `parse_model`, in a thread, so that nobody else waits."""
    return await run_parse(parse_model, body, model)


class JsonBody(Generic[Model]):
    """A route's JSON body, as a dependency: `key: Annotated[KeyRequest, Depends(JsonBody(KeyRequest, {…}))]`.

    Raises ServiceError 415 for another media type, 400 for what is no JSON, and InvalidBody. `example` is
    shown in the description of the interface; its ids are those of nothing.
    """

    def __init__(self, model: type[Model], example: JsonObject) -> None:
        self.model, self.example = model, example

    async def __call__(self, request: Request) -> Model:
        """The body, read and checked."""
        if content_type(request) != "application/json":
            raise unsupported("application/json")
        body, _ = await read_model(await request.body(), self.model)
        return body


def content_type(request: Request) -> str:
    """Without parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def unsupported(accepted: str) -> ServiceError:
    """The answer to another content type."""
    return ServiceError(415, "unsupported_media_type", f"Send {accepted}.", headers={"Accept": accepted})
