"""Python client and the `dfad` command line. Speaks HTTP only.

from dfad_client import Client

with Client() as dfad:
    job = dfad.jobs.create(teacher="teacher.safetensors", spec={"student": {"architecture": "lenet5_half"}})
    job = dfad.jobs.wait(job.id)
    dfad.jobs.download_student(job.id, "student.safetensors")
"""

from dfad_client.answers import Artifact, Event, Job, JobError, Progress, Teacher
from dfad_client.client import Client
from dfad_client.errors import ApiError, ConnectionFailed, DfadClientError, DownloadCorrupt, FieldProblem

__all__ = [
    "ApiError",
    "Artifact",
    "Client",
    "ConnectionFailed",
    "DfadClientError",
    "DownloadCorrupt",
    "Event",
    "FieldProblem",
    "Job",
    "JobError",
    "Progress",
    "Teacher",
]
