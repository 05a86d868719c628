"""A job's other files: labelled data to measure on, and weights that its student begins with.

Each becomes an artifact of the job's own that shares the stored bytes, so that it goes when the job goes.
"""

from __future__ import annotations

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.jobs.schemas import JobSpec
from app.models import Artifact, Job, Upload
from app.models.artifact import INPUTS
from app.platform.db import database_now
from app.platform.errors import FieldProblem, InvalidBody
from app.platform.ids import new_id, require_id


def check(session: Session, tenant_id: str, spec: JobSpec) -> None:
    """Raise InvalidBody where the spec names files that the tenant has not."""
    _named(session, tenant_id, spec)


def attach(session: Session, job: Job, spec: JobSpec) -> None:
    """Give `job` the files that its spec names. Raises InvalidBody for what the tenant has not."""
    for kind, source in _named(session, job.tenant_id, spec, lock=True).items():
        share(session, job, source, kind)


def attach_same(session: Session, job: Job, before: str) -> None:
    """Give `job` the files of the job with the id `before`."""
    mine = (Artifact.job_id == before, Artifact.kind.in_(INPUTS))
    for source in session.scalars(_locked(select(Artifact).where(*mine))):
        share(session, job, source, source.kind)


def _named(session: Session, tenant_id: str, spec: JobSpec, *, lock: bool = False) -> dict[str, Artifact]:
    """By kind."""
    found, begin = {}, spec.student.init_from
    if spec.evaluation.upload_id is not None:
        query = _uploaded(tenant_id, spec.evaluation.upload_id, "/evaluation/upload_id")
        found["evaluation"] = query, "/evaluation/upload_id"
    if begin is not None and begin.upload_id is not None:
        query = _uploaded(tenant_id, begin.upload_id, "/student/init_from/upload_id")
        found["initial"] = query, "/student/init_from/upload_id"
    elif begin is not None and begin.artifact_id is not None:
        found["initial"] = _student(tenant_id, begin.artifact_id), "/student/init_from/artifact_id"
    return {kind: _one(session, query, pointer, lock) for kind, (query, pointer) in found.items()}


def _one(session: Session, query: Select[Artifact], pointer: str, lock: bool) -> Artifact:
    artifact = session.scalar(_locked(query) if lock else query)
    if artifact is None:
        text = "There is no such file."
        raise InvalidBody(text, FieldProblem(pointer, text))
    return artifact


def _locked(query: Select[Artifact]) -> Select[Artifact]:
    """As the rows are once nobody else deletes them, or moves their bytes."""
    return query.with_for_update(of=Artifact).execution_options(populate_existing=True)


def _uploaded(tenant_id: str, upload_id: str, pointer: str) -> Select[Artifact]:
    require_id(upload_id, "upl", pointer)
    query = select(Artifact).join(Upload, Upload.artifact_id == Artifact.id)
    query = query.where(Upload.id == upload_id, Upload.tenant_id == tenant_id)
    return query.where(Upload.status == "completed")


def _student(tenant_id: str, artifact_id: str) -> Select[Artifact]:
    require_id(artifact_id, "art", "/student/init_from/artifact_id")
    query = select(Artifact).where(Artifact.id == artifact_id, Artifact.tenant_id == tenant_id)
    return query.where(Artifact.kind == "student", Artifact.published_at.is_not(None))


def uploaded(session: Session, tenant_id: str, upload_id: str, pointer: str) -> Artifact:
    """A file that was uploaded, which stays until the transaction ends. Raises InvalidBody without one."""
    return _one(session, _uploaded(tenant_id, upload_id, pointer), pointer, lock=True)


def share(session: Session, job: Job, source: Artifact, kind: str, *, published: bool = True) -> None:
    """Give the job an artifact of its own with the bytes of `source`; clients see it if it is `published`."""
    now = database_now(session)
    names = ("tenant_id", "blob_id", "store", "filename", "bytes", "sha256")
    about = {name: getattr(source, name) for name in names}
    session.add(
        Artifact(
            id=new_id("art"),
            job_id=job.id,
            kind=kind,
            created_at=now,
            published_at=now if published else None,
            **about,
        )
    )
