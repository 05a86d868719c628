"""Database tables, one a file. Importing this package registers all of them."""

from app.models.api_key import ApiKey
from app.models.artifact import Artifact, ArtifactChunk, BlobRemoval
from app.models.audit_event import AuditEvent
from app.models.counter import Counter
from app.models.job import Job
from app.models.job_event import JobEvent
from app.models.job_metric import JobMetric
from app.models.monthly_usage import MonthlyUsage
from app.models.outbox import OutboxMessage
from app.models.page_session import PageSession
from app.models.quota import StoredQuota
from app.models.steady_clock import SteadyClock
from app.models.store_move import StoreMove
from app.models.teacher import Teacher
from app.models.upload import Upload, UploadPart
from app.models.webhook import Webhook
from app.models.webhook_delivery import WebhookDelivery
from app.models.worker_beat import WorkerBeat

__all__ = [
    "ApiKey",
    "Artifact",
    "ArtifactChunk",
    "AuditEvent",
    "BlobRemoval",
    "Counter",
    "Job",
    "JobEvent",
    "JobMetric",
    "MonthlyUsage",
    "OutboxMessage",
    "PageSession",
    "SteadyClock",
    "StoreMove",
    "StoredQuota",
    "Teacher",
    "Upload",
    "UploadPart",
    "Webhook",
    "WebhookDelivery",
    "WorkerBeat",
]
