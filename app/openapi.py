"""What FastAPI cannot see by itself: multipart bodies that are streamed, problems, the key."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from app.config import Quota
from app.jobs.schemas import (
    EvaluationReport,
    JobPatch,
    JobRequest,
    JobSpec,
    MeasurementRequest,
    TeacherRequest,
    TeacherSpec,
)
from app.keys.acting import PARAMETER
from app.keys.principal import OPEN_PATHS
from app.keys.schemas import KeyRequest
from app.problems import CODES, Problem
from app.uploads.schemas import UploadRequest
from app.webhooks.schemas import WebhookPatch, WebhookRequest

REF = "#/components/schemas/{model}"
BODIES = (
    JobSpec,
    JobRequest,
    TeacherSpec,
    TeacherRequest,
    JobPatch,
    EvaluationReport,
    MeasurementRequest,
    KeyRequest,
    UploadRequest,
    WebhookRequest,
    WebhookPatch,
    Quota,
)

EXAMPLES: dict[str, dict[str, Any]] = {
    "JobRequest": {
        "teacher_id": f"tch_{'0' * 32}",
        "student": {"architecture": "resnet8", "args": {"width": 8}},
        "budget": {"steps": 2000},
        "exports": ["safetensors", "onnx"],
        "metadata": {"team": "vision"},
    },
    "TeacherRequest": {"upload_id": f"upl_{'0' * 32}", "architecture": "resnet34"},
    "JobPatch": {"metadata": {"team": "vision"}, "keep": True},
    "EvaluationReport": {"data": "our test set", "images": 10_000, "teacher": 0.95, "student": 0.93},
    "MeasurementRequest": {"upload_id": f"upl_{'0' * 32}"},
    "KeyRequest": {"name": "me", "scopes": ["admin"]},
    "UploadRequest": {"filename": "teacher.safetensors", "bytes": 94_000_000, "sha256": "0" * 64},
    "WebhookRequest": {"url": "https://hooks.example.com/jobs", "events": ["job.succeeded", "job.failed"]},
    "WebhookPatch": {"enabled": False},
    "Quota": {"queued_jobs": 100, "running_jobs": 4},
}
"""Bodies as they are sent; ids are those of nothing."""


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def multipart_body(spec: str, *, spec_required: bool, or_json: str | None = None) -> dict[str, Any]:
    """`openapi_extra` of a route that takes a teacher file and a JSON part (or JSON alone)."""
    properties = {"teacher": {"type": "string", "format": "binary"}, "spec": _ref(spec)}
    schema = {
        "type": "object",
        "properties": properties,
        "required": ["teacher", *(["spec"] if spec_required else [])],
        "additionalProperties": False,
    }
    encoding = {"spec": {"contentType": "application/json"}}
    content: dict[str, Any] = {"multipart/form-data": {"schema": schema, "encoding": encoding}}
    if or_json:
        content["application/json"] = _json(or_json)
    return {"requestBody": {"required": True, "content": content}}


def json_body(model: str) -> dict[str, Any]:
    """`openapi_extra` of a route that parses its JSON itself."""
    return {"requestBody": {"required": True, "content": {"application/json": _json(model)}}}


def _json(model: str) -> dict[str, Any]:
    return {"schema": _ref(model), "example": EXAMPLES[model]}


def install(app: FastAPI) -> None:
    """Let `/openapi.json` describe everything."""

    def build() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
            _complete(schema)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = build  # type: ignore[method-assign]


def _complete(schema: dict[str, Any]) -> None:
    components = schema.setdefault("components", {})
    models = [(model, "validation") for model in BODIES] + [(Problem, "serialization")]
    _, definitions = models_json_schema(models, ref_template=REF)  # type: ignore[arg-type]
    schemas = components.setdefault("schemas", {})
    for name, definition in definitions["$defs"].items():
        known = schemas.get(name, definition)
        if known.get("properties", {}).keys() != definition.get("properties", {}).keys():
            raise RuntimeError(f"an answer and a body both have a schema called {name}")
        schemas[name] = definition
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    components["parameters"] = {"Tenant": PARAMETER}
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    schema["security"] = [{"key": []}, {}]
    codes = ", ".join(f"`{code}`" for code in sorted(CODES))
    problem = {
        "description": f"A refusal. Codes: {codes}.",
        "content": {"application/problem+json": {"schema": _ref("Problem")}},
    }
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            if path not in OPEN_PATHS:
                operation.setdefault("parameters", []).append({"$ref": "#/components/parameters/Tenant"})
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = problem
