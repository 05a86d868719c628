"""The service as a Python class."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self

import httpx

from dfad_client.answers import Json
from dfad_client.errors import ConnectionFailed
from dfad_client.jobs import Jobs
from dfad_client.keys import Keys
from dfad_client.teachers import Teachers
from dfad_client.transport import Transport
from dfad_client.uploads import Uploads

DEFAULT_BASE_URL = "http://127.0.0.1:8000"


class Client:
    """A connection to one server; close it, or use it in a `with` block.

    `base_url` and `api_key` default to DFAD_BASE_URL and DFAD_API_KEY. Calls that break or are
    refused for now (408, 429, 5xx) are tried again, `retries` times, with one idempotency key,
    so nothing is ever created twice. Methods raise ApiError when the server refuses and
    ConnectionFailed when it does not answer.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_seconds: float = 60.0,
        retries: int = 4,
        backoff_seconds: float = 0.5,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._transport = Transport(
            base_url or os.environ.get("DFAD_BASE_URL") or DEFAULT_BASE_URL,
            api_key or os.environ.get("DFAD_API_KEY"),
            timeout_seconds=timeout_seconds,
            retries=retries,
            backoff_seconds=backoff_seconds,
            transport=transport,
        )
        self.jobs = Jobs(self._transport)
        self.teachers = Teachers(self._transport)
        self.uploads = Uploads(self._transport)
        self.keys = Keys(self._transport)

    @property
    def base_url(self) -> str:
        """The server's address."""
        return self._transport.base_url

    def capabilities(self) -> Json:
        """Methods with the JSON Schema of their parameters, architectures, formats, devices, limits."""
        body: Json = self._transport.request("GET", "/capabilities").json()
        return body

    def readiness(self) -> dict[str, str]:
        """`ok` or what is wrong, for each of database, broker and worker; asked once, not again."""
        answer = self._transport.look("/readyz")
        try:
            return {str(name): str(state) for name, state in answer.json()["checks"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ConnectionFailed(f"What answers at {self.base_url} is not this service.") from None

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
