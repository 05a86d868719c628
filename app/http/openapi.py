"""What FastAPI cannot see by itself: multipart bodies that are streamed, problems, the key."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.routing import BaseRoute

from app.http.json_body import JsonBody
from app.http.problems import CODES, Problem
from dfad_core.contract.serialization import JsonObject

REF = "#/components/schemas/{model}"

_bodies: set[type[BaseModel]] = set()
"""Models of all bodies that routes parse themselves."""


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def multipart_body(
    spec: type[BaseModel], *, spec_required: bool, or_json: type[BaseModel], example: JsonObject
) -> dict[str, Any]:
    """`openapi_extra` of a route that takes a teacher file and a JSON part, or JSON alone (`example`)."""
    properties = {"teacher": {"type": "string", "format": "binary"}, "spec": _schema(spec)}
    schema = {
        "type": "object",
        "properties": properties,
        "required": ["teacher", *(["spec"] if spec_required else [])],
        "additionalProperties": False,
    }
    encoding = {"spec": {"contentType": "application/json"}}
    content: dict[str, Any] = {"multipart/form-data": {"schema": schema, "encoding": encoding}}
    content["application/json"] = _json(or_json, example)
    return {"requestBody": {"required": True, "content": content}}


def _json(model: type[BaseModel], example: JsonObject) -> dict[str, Any]:
    return {"schema": _schema(model), "example": example}


def _schema(model: type[BaseModel]) -> dict[str, str]:
    _bodies.add(model)
    return _ref(model.__name__)


def install(app: FastAPI, *, parameters: Mapping[str, JsonObject], open_paths: Container[str]) -> None:
    """Let `/openapi.json` describe everything.

    `parameters`: those that every operation takes, by name, but for operations on `open_paths`.
    """

    def build() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
            for path, method, body in _bodies_of(app.routes):
                content = {"application/json": _json(body.model, body.example)}
                schema["paths"][path][method]["requestBody"] = {"required": True, "content": content}
            _complete(schema, parameters, open_paths)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = build  # type: ignore[method-assign]


def _bodies_of(routes: Sequence[BaseRoute]) -> Iterator[tuple[str, str, JsonBody[Any]]]:
    """Path, method and body of each operation with a dependency that reads one."""
    for route in iter_route_contexts(routes):
        dependant = getattr(route, "dependant", None)
        for dependency in dependant.dependencies if isinstance(dependant, Dependant) else ():
            if isinstance(dependency.call, JsonBody) and getattr(route, "include_in_schema", True):
                yield from (
                    (str(route.path), method.lower(), dependency.call) for method in route.methods or ()
                )


def _complete(
    schema: dict[str, Any], parameters: Mapping[str, JsonObject], open_paths: Container[str]
) -> None:
    components = schema.setdefault("components", {})
    bodies = sorted(_bodies, key=lambda model: model.__name__)
    models = [(model, "validation") for model in bodies] + [(Problem, "serialization")]
    _, definitions = models_json_schema(models, ref_template=REF)  # type: ignore[arg-type]
    schemas = components.setdefault("schemas", {})
    for name, definition in definitions["$defs"].items():
        known = schemas.get(name, definition)
        if known.get("properties", {}).keys() != definition.get("properties", {}).keys():
            raise RuntimeError(f"an answer and a body both have a schema called {name}")
        schemas[name] = definition
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    components["parameters"] = dict(parameters)
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    schema["security"] = [{"key": []}, {}]
    codes = ", ".join(f"`{code}`" for code in sorted(CODES))
    problem = {
        "description": f"A refusal. Codes: {codes}.",
        "content": {"application/problem+json": {"schema": _ref("Problem")}},
    }
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            if path not in open_paths:
                common = [{"$ref": f"#/components/parameters/{name}"} for name in parameters]
                operation.setdefault("parameters", []).extend(common)
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = problem
