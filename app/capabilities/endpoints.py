"""`/capabilities`."""

from __future__ import annotations

import dataclasses
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from app.config import get_settings
from app.health.service import live_workers
from app.jobs.schemas import EXPORTS, MAX_LABELS, JobSpec
from dfad_core.contract.catalog import ARCHITECTURES
from dfad_core.contract.methods import METHODS, Method

router = APIRouter(tags=["capabilities"])


class Capabilities(BaseModel):
    """Everything that a job may name, and the limits."""

    methods: list[dict[str, Any]]
    architectures: list[dict[str, Any]]
    formats: dict[str, list[str]]
    devices: list[str]
    limits: dict[str, float]
    spec_schema: dict[str, Any]


@router.get("/capabilities")
def capabilities() -> Capabilities:
    """Methods with the schema of their parameters, architectures, formats, devices, limits."""
    settings = get_settings()
    schema = JobSpec.model_json_schema()
    parameters = schema["$defs"]["MethodConfig"]
    devices = {device for worker in live_workers() for device in worker.details.get("devices", [])}
    return Capabilities(
        methods=[{**_described(m), "parameters": parameters} for m in METHODS.values()],
        architectures=[dataclasses.asdict(a) for a in ARCHITECTURES.values()],
        formats={
            "teacher": ["safetensors", "state_dict_pt", "onnx", "huggingface"],
            "student": list(EXPORTS),
        },
        devices=sorted(devices),
        limits={
            "upload_bytes": settings.max_upload_bytes,
            "json_bytes": settings.max_json_bytes,
            "metadata_entries": MAX_LABELS,
            "attempts": settings.max_attempts,
        },
        spec_schema=schema,
    )


def _described(method: Method) -> dict[str, Any]:
    """What a client needs to choose a method; how the engine composes it is in the recipe."""
    inside = {"notes", "recipe", "recipe_without_bn", "needs_bn"}
    return {f.name: getattr(method, f.name) for f in dataclasses.fields(method) if f.name not in inside}
