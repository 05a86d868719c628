"""The script with `dfad_client.Client`, and with `dfad_client.AsyncClient`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, cast

from dfad_client import ApiError, AsyncClient, Client
from tests.e2e.same_script.steps import Json, Refused


class PythonClient:
    """See `steps.Driver`."""

    lacks: Mapping[str, str] = {
        "range": "downloads that break off go on by ranges by themselves",
        "figures": "/metrics is for Prometheus",
    }

    def __init__(self, url: str, key: str, folder: Path) -> None:
        self._url, self._key, self._folder = url, key, folder

    def using(self, key: str) -> PythonClient:
        return type(self)(self._url, key, self._folder)

    def _connected(self) -> AbstractContextManager[Client]:
        return Client(self._url, self._key)

    @contextmanager
    def _client(self) -> Iterator[Client]:
        with self._connected() as client:
            try:
                yield client
            except ApiError as error:
                raise Refused(error.status, error.code, [one.pointer for one in error.errors]) from error

    def alive(self) -> bool:
        return bool(self.readiness())

    def readiness(self) -> Json:
        with self._client() as client:
            return dict(client.readiness())

    def capabilities(self) -> Json:
        with self._client() as client:
            return dict(client.capabilities())

    def validate(self, teacher: Path, spec: Json) -> Json:
        with self._client() as client:
            return dict(client.jobs.validate(teacher, spec=spec))

    def create_key(self, name: str, tenant: str) -> Json:
        with self._client() as client:
            return dict(client.keys.create(name, tenant_id=tenant))

    def list_keys(self) -> list[Json]:
        with self._client() as client:
            return list(client.keys.list())

    def revoke(self, key_id: str) -> None:
        with self._client() as client:
            client.keys.revoke(key_id)

    def create_teacher(self, path: Path) -> Json:
        with self._client() as client:
            return client.teachers.create(path).raw

    def teacher(self, teacher_id: str) -> Json:
        with self._client() as client:
            return client.teachers.retrieve(teacher_id).raw

    def submit(
        self, teacher: Path | str, spec: Json, *, labelled: Path | None = None, key: str | None = None
    ) -> Json:
        with self._client() as client:
            if labelled is not None:
                spec = {**spec, "evaluation": {"upload_id": client.uploads.send(labelled)}}
            named = {"teacher_id": teacher} if isinstance(teacher, str) else {"teacher": str(teacher)}
            return client.jobs.create(**named, spec=spec, idempotency_key=key).raw

    def job(self, job_id: str) -> Json:
        with self._client() as client:
            return client.jobs.retrieve(job_id).raw

    def jobs(self, *, status: str | None = None, metadata: Mapping[str, str] | None = None) -> list[Json]:
        with self._client() as client:
            return [job.raw for job in client.jobs.list(status=status, metadata=metadata)]

    def wait(self, job_id: str) -> Json:
        with self._client() as client:
            return client.jobs.wait(job_id).raw

    def events(self, job_id: str) -> list[str]:
        with self._client() as client:
            return [event.type for event in client.jobs.stream(job_id)]

    def cancel(self, job_id: str) -> Json:
        with self._client() as client:
            return client.jobs.cancel(job_id).raw

    def pause(self, job_id: str) -> Json:
        with self._client() as client:
            return client.jobs.pause(job_id).raw

    def resume(self, job_id: str) -> Json:
        with self._client() as client:
            return client.jobs.resume(job_id).raw

    def rerun(self, job_id: str) -> Json:
        with self._client() as client:
            return client.jobs.rerun(job_id).raw

    def artifacts(self, job_id: str) -> list[Json]:
        with self._client() as client:
            return [artifact.raw for artifact in client.jobs.artifacts(job_id)]

    def student(self, job_id: str) -> bytes:
        with self._client() as client:
            return client.jobs.download_student(job_id, self._folder / "file").read_bytes()

    def report(self, job_id: str) -> bytes:
        with self._client() as client:
            [report] = [one for one in client.jobs.artifacts(job_id) if one.kind == "report"]
            return client.jobs.download(report, self._folder / "file").read_bytes()

    def newest_sample(self, job_id: str) -> bytes:
        with self._client() as client:
            return client.jobs.download(client.jobs.samples(job_id)[-1], self._folder / "file").read_bytes()

    def series(self, job_id: str) -> list[Json]:
        with self._client() as client:
            return list(client.jobs.metrics(job_id, points=5)["data"])

    def update(self, job_id: str, metadata: Mapping[str, str]) -> Json:
        with self._client() as client:
            return client.jobs.update(job_id, metadata=metadata).raw

    def evaluate(self, job_id: str, report: Json) -> Json:
        with self._client() as client:
            return client.jobs.add_evaluation(job_id, **report).raw

    def measure(self, job_id: str, labelled: Path) -> Json:
        with self._client() as client:
            return client.jobs.measure(job_id, upload_id=client.uploads.send(labelled)).raw

    def delete(self, job_id: str) -> None:
        with self._client() as client:
            client.jobs.delete(job_id)


class Asyncio(PythonClient):
    """The same with the client that is awaited, in an event loop of its own for each connection."""

    @contextmanager
    def _connected(self) -> Iterator[Client]:
        with asyncio.Runner() as runner:

            async def connect() -> AsyncClient:
                return await AsyncClient(self._url, self._key).__aenter__()

            client = runner.run(connect())
            try:
                yield cast(Client, _Awaited(client, runner))
            finally:
                runner.run(client.close())


class _Awaited:
    """An object whose methods are awaited, and whose iterators are read to their end, in `runner`."""

    def __init__(self, inner: Any, runner: asyncio.Runner) -> None:
        self._inner, self._runner = inner, runner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return _Awaited(found, self._runner)

        def call(*arguments: Any, **named: Any) -> Any:
            answer = found(*arguments, **named)
            if inspect.isawaitable(answer):
                return self._runner.run(_itself(answer))
            return self._runner.run(_all(answer))

        return call


async def _itself(answer: Any) -> Any:
    return await answer


async def _all(answers: Any) -> list[Any]:
    return [one async for one in answers]
