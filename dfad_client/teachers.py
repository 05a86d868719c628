"""Teachers, uploaded once and named in many jobs."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dfad_client.answers import Teacher
from dfad_client.transport import Transport

Files = list[tuple[str, tuple[str | None, Any, str]]]


@contextlib.contextmanager
def teacher_parts(path: Path, spec: Mapping[str, Any] | None) -> Iterator[Callable[[], Files]]:
    """The parts of an upload, streamed from the file, from its beginning at every call."""
    with path.open("rb") as file:

        def parts() -> Files:
            file.seek(0)
            named = (path.name, file, "application/octet-stream")
            # The spec first: the server can refuse it before gigabytes have travelled.
            first: Files = (
                [("spec", (None, json.dumps(spec), "application/json"))] if spec is not None else []
            )
            return [*first, ("teacher", named)]

        yield parts


def new_idempotency_key() -> str:
    """A key that no other request has."""
    return secrets.token_urlsafe(24)


class Teachers:
    """`client.teachers`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        path: str | Path,
        *,
        spec: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Teacher:
        """Upload a teacher; `spec` is what a job's `teacher` part would say (architecture, input, …)."""
        headers = {"Idempotency-Key": idempotency_key or new_idempotency_key()}
        with teacher_parts(Path(path), spec) as parts:
            return Teacher.of(
                self._transport.request("POST", "/teachers", files=parts, headers=headers).json()
            )

    def retrieve(self, teacher_id: str) -> Teacher:
        """One teacher, with its inspection report once there is one."""
        return Teacher.of(self._transport.request("GET", f"/teachers/{teacher_id}").json())
