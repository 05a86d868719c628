"""Jobs: submit, look, wait, cancel, and fetch what came out."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from dfad_client.aio.download import download
from dfad_client.aio.stream import stream_events
from dfad_client.aio.transport import AsyncTransport
from dfad_client.answers import Artifact, Event, Job, Json, Metrics
from dfad_client.files import Listener, new_idempotency_key, teacher_parts

#: One long poll; below the minute after which proxies lose patience.
POLL_SECONDS = 25.0
#: Pause between polls of a server that answers at once.
POLL_PAUSE_SECONDS = 0.5
#: The same of a job that is being measured.
MEASURED_PAUSE_SECONDS = 1.0
EVENTS_A_PAGE = 500

Artifacts = list[Artifact]


def _one_teacher(teacher: str | Path | None, teacher_id: str | None, upload_id: str | None) -> Path | Json:
    """The path, or what names the teacher in the body. Raises ValueError unless exactly one is given."""
    if sum(given is not None for given in (teacher, teacher_id, upload_id)) != 1:
        raise ValueError("give either teacher (a path), teacher_id or upload_id")
    if teacher is not None:
        return Path(teacher)
    return {"teacher_id": teacher_id} if upload_id is None else {"upload_id": upload_id}


class AsyncJobs:
    """`client.jobs`."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(
        self,
        teacher: str | Path | None = None,
        *,
        spec: Mapping[str, Any],
        teacher_id: str | None = None,
        upload_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Submit a job for a teacher's file, a teacher already there, or what `uploads.send` has sent.

        A Hugging Face folder may take the place of a file. The idempotency key is made here and kept over all
        tries; give your own to make the call repeatable over restarts of your program. Raises ValueError
        unless exactly one teacher is given.
        """
        headers = {"Idempotency-Key": idempotency_key or new_idempotency_key()}
        given = _one_teacher(teacher, teacher_id, upload_id)
        return Job.of(await self._sent("/jobs", spec, given, headers))

    async def validate(
        self,
        teacher: str | Path | None = None,
        *,
        spec: Mapping[str, Any],
        teacher_id: str | None = None,
        upload_id: str | None = None,
    ) -> Json:
        """What `create` would take, and an estimate of its cost; nothing is stored.

        Raises what `create` would raise.
        """
        checked: Json = await self._sent(
            "/jobs/validate", spec, _one_teacher(teacher, teacher_id, upload_id), {}
        )
        return checked

    async def _sent(
        self, path: str, spec: Mapping[str, Any], teacher: Path | Json, headers: dict[str, str]
    ) -> Any:
        if not isinstance(teacher, Path):
            return await self._transport.json("POST", path, json={**spec, **teacher}, headers=headers)
        with teacher_parts(teacher, spec) as parts:
            return await self._transport.json("POST", path, files=parts, headers=headers)

    async def retrieve(self, job_id: str) -> Job:
        """One job as it is now."""
        return Job.of(await self._transport.json("GET", f"/jobs/{job_id}"))

    async def list(
        self, *, status: str | None = None, metadata: Mapping[str, str] | None = None, page_size: int = 50
    ) -> AsyncIterator[Job]:
        """All jobs, newest first; further pages are fetched as the iteration reaches them."""
        query: dict[str, str | int] = {"limit": page_size}
        if status:
            query["status"] = status
        for key, value in (metadata or {}).items():
            query[f"metadata[{key}]"] = value
        while True:
            page = await self._transport.json("GET", "/jobs", params=query)
            for item in page["data"]:
                yield Job.of(item)
            if not page["has_more"]:
                return
            query["after"] = page["last_id"]

    async def cancel(self, job_id: str) -> Job:
        """Ask for the job's end. Idempotent; ApiError 409 once it has ended otherwise."""
        return Job.of(await self._transport.json("POST", f"/jobs/{job_id}/cancel"))

    async def pause(self, job_id: str) -> Job:
        """Hold the job where it is. Idempotent; ApiError 409 once it has ended."""
        return Job.of(await self._transport.json("POST", f"/jobs/{job_id}/pause"))

    async def resume(self, job_id: str) -> Job:
        """Queue a paused job again. Idempotent; ApiError 409 while it is still pausing."""
        return Job.of(await self._transport.json("POST", f"/jobs/{job_id}/resume"))

    async def rerun(self, job_id: str, *, idempotency_key: str | None = None) -> Job:
        """A new job with the teacher, the spec and the metadata of another."""
        headers = {"Idempotency-Key": idempotency_key or new_idempotency_key()}
        return Job.of(await self._transport.json("POST", f"/jobs/{job_id}/rerun", headers=headers))

    async def update(self, job_id: str, *, metadata: Mapping[str, str]) -> Job:
        """Replace the job's metadata."""
        return Job.of(
            await self._transport.json("PATCH", f"/jobs/{job_id}", json={"metadata": dict(metadata)})
        )

    async def delete(self, job_id: str) -> None:
        """Forget a job that has ended, with all that came of it. ApiError 409 before its end."""
        await self._transport.request("DELETE", f"/jobs/{job_id}")

    async def add_evaluation(
        self,
        job_id: str,
        *,
        data: str,
        student: float,
        teacher: float | None = None,
        images: int | None = None,
    ) -> Job:
        """Keep accuracies (0 to 1) that you measured on your own `data`. Tried once: each call adds one."""
        known = {"data": data, "student": student, "teacher": teacher, "images": images}
        body = {name: value for name, value in known.items() if value is not None}
        path = f"/jobs/{job_id}/evaluations"
        return Job.of(await self._transport.json("POST", path, json=body, repeatable=False))

    async def measure(self, job_id: str, *, upload_id: str) -> Job:
        """Have accuracy measured on labelled images that `uploads.send` has sent; the job must have ended.

        Of its teacher, its student and each export. Idempotent for the same images. `wait_measured` waits.
        """
        path = f"/jobs/{job_id}/measure"
        return Job.of(await self._transport.json("POST", path, json={"upload_id": upload_id}))

    async def wait_measured(self, job_id: str, *, timeout_seconds: float | None = None) -> Job:
        """The job once its measurement is over. Raises TimeoutError after `timeout_seconds`."""
        started = time.monotonic()
        while True:
            job = await self.retrieve(job_id)
            if job.measurement is None or not job.measurement.waits:
                return job
            if timeout_seconds is not None and time.monotonic() - started > timeout_seconds:
                raise TimeoutError(f"{job_id} is not measured after {timeout_seconds:g} s")
            await self._transport.sleep(MEASURED_PAUSE_SECONDS)

    async def wait(self, job_id: str, *, timeout_seconds: float | None = None) -> Job:
        """The job once it has ended. Raises TimeoutError after `timeout_seconds`."""
        started = time.monotonic()
        while True:
            left = POLL_SECONDS
            if timeout_seconds is not None:
                left = min(left, timeout_seconds - (time.monotonic() - started))
                if left <= 0:
                    raise TimeoutError(f"{job_id} has not ended after {timeout_seconds:g} s")
            asked = time.monotonic()
            prefer = {"Prefer": f"wait={max(1, round(left))}"}
            job = Job.of(await self._transport.json("GET", f"/jobs/{job_id}", headers=prefer))
            if job.terminal:
                return job
            if time.monotonic() - asked < POLL_PAUSE_SECONDS:
                await self._transport.sleep(min(POLL_PAUSE_SECONDS, left))

    def stream(self, job_id: str, *, after: int = 0) -> AsyncGenerator[Event, None]:
        """The job's events after number `after`, live, until it has ended; none lost, none twice.

        Over any number of connections: what breaks is opened again where it was.
        """
        return stream_events(self._transport, job_id, after)

    async def events(self, job_id: str, *, after: int = 0) -> AsyncIterator[Event]:
        """The job's events after number `after`, as far as there are any by now."""
        more = True
        while more:
            query = {"after": after, "limit": EVENTS_A_PAGE}
            page = await self._transport.json("GET", f"/jobs/{job_id}/events", params=query)
            for item in page["data"]:
                yield Event.of(item)
            after, more = page["last_seq"], page["has_more"]

    async def metrics(self, job_id: str, *, points: int | None = None) -> Metrics:
        """The series of the training, thinned to about `points` if given."""
        query = {} if points is None else {"points": points}
        body: Metrics = await self._transport.json("GET", f"/jobs/{job_id}/metrics", params=query)
        return body

    async def artifacts(self, job_id: str) -> Artifacts:
        """Everything the job has made so far, its newest last."""
        page = await self._transport.json("GET", f"/jobs/{job_id}/artifacts")
        return [Artifact.of(item) for item in page["data"]]

    async def samples(self, job_id: str) -> Artifacts:
        """The pictures of generated inputs, in the order of their steps."""
        page = await self._transport.json("GET", f"/jobs/{job_id}/samples")
        return [Artifact.of(item) for item in page["data"]]

    async def download(
        self, artifact: Artifact, path: str | Path, *, on_progress: Listener | None = None
    ) -> Path:
        """Write an artifact to `path`: verified against its SHA-256 and renamed into place, or not at all."""
        return await download(self._transport, artifact, Path(path), on_progress)

    async def student(self, job_id: str, *, format: str = "safetensors") -> Artifact:
        """The job's student in one format. ApiError says why where there is none (yet)."""
        kind = "student" if format == "safetensors" else f"student_{format}"
        while True:
            found = [artifact for artifact in await self.artifacts(job_id) if artifact.kind == kind]
            if found:
                return found[-1]
            # The server knows why there is none; if it has one by now, the next look finds it.
            await self._transport.request("GET", f"/jobs/{job_id}/student", params={"format": format})

    async def download_student(
        self,
        job_id: str,
        path: str | Path,
        *,
        format: str = "safetensors",
        on_progress: Listener | None = None,
    ) -> Path:
        """Write the job's student to `path`, as `download` does. ApiError where there is none (yet)."""
        artifact = await self.student(job_id, format=format)
        return await self.download(artifact, path, on_progress=on_progress)
