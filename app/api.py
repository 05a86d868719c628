"""All routers. The order matters only where a fixed path and a parameter could both match."""

from fastapi import APIRouter

from app.artifacts.endpoints import router as artifacts
from app.audit.endpoints import router as audit
from app.capabilities.endpoints import router as capabilities
from app.health.endpoints import router as health
from app.jobs.endpoints import router as jobs
from app.jobs.record_endpoints import router as job_records
from app.keys.endpoints import router as keys
from app.teachers.endpoints import router as teachers
from app.telemetry.endpoints import router as telemetry
from app.uploads.endpoints import router as uploads
from app.usage.endpoints import router as usage
from app.webhooks.endpoints import router as webhooks

router = APIRouter()
for part in (
    jobs,
    job_records,
    teachers,
    uploads,
    artifacts,
    webhooks,
    usage,
    keys,
    audit,
    capabilities,
    health,
    telemetry,
):
    router.include_router(part)
