# Made from dfad_client/aio/teachers.py by `python tools/sync_twin.py`: change that one, and run it.
"""Teachers, uploaded once and named in many jobs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dfad_client.answers import Teacher
from dfad_client.files import new_idempotency_key, teacher_parts
from dfad_client.sync.transport import Transport

LOOK_SECONDS = 0.5


class Teachers:
    """`client.teachers`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        path: str | Path | None = None,
        *,
        spec: Mapping[str, Any] | None = None,
        upload_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Teacher:
        """Send a teacher's file or Hugging Face folder, or name one that `uploads.send` has sent.

        `spec` is what a job's `teacher` part would say (architecture, input, …). Raises ValueError unless
        exactly one file is given.
        """
        if (path is None) == (upload_id is None):
            raise ValueError("give either a path or an upload_id")
        headers = {"Idempotency-Key": idempotency_key or new_idempotency_key()}
        if path is None:
            body = {**(spec or {}), "upload_id": upload_id}
            return Teacher.of(self._transport.json("POST", "/teachers", json=body, headers=headers))
        with teacher_parts(Path(path), spec) as parts:
            return Teacher.of(self._transport.json("POST", "/teachers", files=parts, headers=headers))

    def retrieve(self, teacher_id: str) -> Teacher:
        """One teacher, with its inspection report once there is one."""
        return Teacher.of(self._transport.json("GET", f"/teachers/{teacher_id}"))

    def list(self, *, page_size: int = 50) -> Iterator[Teacher]:
        """All teachers, newest first; further pages are fetched as the iteration reaches them."""
        query: dict[str, str | int] = {"limit": page_size}
        while True:
            page = self._transport.json("GET", "/teachers", params=query)
            for item in page["data"]:
                yield Teacher.of(item)
            if not page["has_more"]:
                return
            query["after"] = page["last_id"]

    def wait(
        self,
        teacher_id: str,
        *,
        timeout_seconds: float | None = None,
        on_wait: Callable[[Teacher], None] | None = None,
    ) -> Teacher:
        """The teacher once it is ready or rejected; until then `on_wait` is called with it now and then.

        Raises TimeoutError after `timeout_seconds`.
        """
        started = time.monotonic()
        while (teacher := self.retrieve(teacher_id)).status == "inspecting":
            if timeout_seconds is not None and time.monotonic() - started > timeout_seconds:
                raise TimeoutError(f"{teacher_id} is not inspected after {timeout_seconds:g} s")
            if on_wait:
                on_wait(teacher)
            self._transport.sleep(LOOK_SECONDS)
        return teacher
