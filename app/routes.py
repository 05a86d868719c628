"""All routers. The order matters only where a fixed path and a parameter could both match."""

from fastapi import APIRouter

from app.access.audit.endpoints import router as audit
from app.access.keys.endpoints import router as keys
from app.access.usage.endpoints import router as usage
from app.capabilities.endpoints import router as capabilities
from app.files.artifacts.endpoints import router as artifacts
from app.files.uploads.endpoints import router as uploads
from app.health.endpoints import router as health
from app.jobs.endpoints import router as jobs
from app.jobs.record_endpoints import router as job_records
from app.leases.beside_endpoints import router as leases_beside_jobs
from app.leases.endpoints import router as leases
from app.leases.file_endpoints import router as leased_files
from app.leases.job_endpoints import router as leased_jobs
from app.teachers.endpoints import router as teachers
from app.telemetry.endpoints import router as telemetry
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
    leases,
    leased_jobs,
    leases_beside_jobs,
    leased_files,
):
    router.include_router(part)
