"""Python client and the `dfad` command line. Speaks HTTP only.

from dfad_client import Client

with Client() as dfad:
    job = dfad.jobs.create(teacher="teacher.safetensors", spec={"student": {"architecture": "lenet5_half"}})
    job = dfad.jobs.wait(job.id)
    dfad.jobs.download_student(job.id, "student.safetensors")

`AsyncClient` has the same methods, to be awaited.
"""

from dfad_client.aio.client import AsyncClient
from dfad_client.answers import (
    Artifact,
    Capabilities,
    Event,
    Job,
    JobError,
    Metrics,
    Progress,
    Quota,
    Teacher,
    TenantUsage,
)
from dfad_client.errors import ApiError, ConnectionFailed, DfadClientError, DownloadCorrupt, FieldProblem
from dfad_client.profiles import ProfileError
from dfad_client.results import Inspection, JobResult
from dfad_client.sync.client import Client

__all__ = [
    "ApiError",
    "Artifact",
    "AsyncClient",
    "Capabilities",
    "Client",
    "ConnectionFailed",
    "DfadClientError",
    "DownloadCorrupt",
    "Event",
    "FieldProblem",
    "Inspection",
    "Job",
    "JobError",
    "JobResult",
    "Metrics",
    "ProfileError",
    "Progress",
    "Quota",
    "Teacher",
    "TenantUsage",
]
