# Made from dfad_client/aio/transport.py by `python tools/sync_twin.py`: change that one, and run it.
"""One HTTP call: what is tried again, for how long, and what every failure becomes."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import httpx2

from dfad_client import addresses, environment
from dfad_client.errors import ConnectionFailed
from dfad_client.retrying import OnWait, Retryable, backoff, refusal
from dfad_client.sync import waiting


class Attempts:
    """Counts failures in a row and waits between tries."""

    def __init__(
        self,
        retries: int,
        backoff_seconds: float,
        sleep: Callable[[float], None],
        on_wait: OnWait | None = None,
    ) -> None:
        self._retries = retries
        self._backoff_seconds = backoff_seconds
        self._sleep, self._on_wait = sleep, on_wait
        self._failures = 0

    def progress(self) -> None:
        """Something arrived: the count starts anew."""
        self._failures = 0

    def wait(self, again: Retryable) -> None:
        """Wait before the next try; raise what went wrong if there is none left."""
        if self._failures >= self._retries:
            raise again.failure from again.__cause__
        pause = again.pause if again.pause is not None else backoff(self._failures, self._backoff_seconds)
        self._failures += 1
        if self._on_wait is not None:
            self._on_wait(str(again.failure), pause)
        self._sleep(pause)


class Transport:
    """An HTTP client that retries what may be retried and raises this package's errors."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        *,
        tenant: str | None = None,
        timeout_seconds: float = 60.0,
        retries: int = 4,
        backoff_seconds: float = 0.5,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = waiting.sleep,
        on_wait: OnWait | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._retries, self._backoff_seconds, self._sleep = retries, backoff_seconds, sleep
        self._on_wait = on_wait
        url = addresses.checked(base_url)
        headers = {"User-Agent": "dfad-client", "Accept": "application/json"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        if tenant is not None:
            # The server refuses what is no tenant's name; a header has to be ASCII to get there.
            headers["DFAD-Tenant"] = tenant.encode("ascii", "replace").decode()
        # No proxy can reach this machine's own loopback, whatever HTTP_PROXY says.
        direct = addresses.is_loopback(url.host)
        self._way = "" if direct else environment.way_to(url)
        try:
            self._http = httpx2.Client(
                base_url=self.base_url,
                headers=headers,
                timeout=httpx2.Timeout(timeout_seconds, connect=10.0),
                transport=transport,
                trust_env=not direct,
            )
        except (ImportError, OSError, ValueError, httpx2.InvalidURL) as error:
            raise environment.unusable(error) from error

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def attempts(self) -> Attempts:
        """A fresh count of tries, with this transport's patience."""
        return Attempts(self._retries, self._backoff_seconds, self._sleep, self._on_wait)

    def sleep(self, seconds: float) -> None:
        """Wait between polls."""
        self._sleep(seconds)

    def request(self, method: str, path: str, *, repeatable: bool = True, **options: Any) -> httpx2.Response:
        """Send, try again where that helps, and return the successful answer, read whole.

        `options` are those of httpx2; `files` may be a function, called for each try, so that a file
        is sent from its beginning. Headers, and so the idempotency key, are the same at every try; a call
        that cannot be repeated without harm is tried once. Raises ApiError or ConnectionFailed.
        """
        attempts = self.attempts()
        make_files = options.pop("files", None)
        while True:
            if make_files is not None:
                options["files"] = make_files() if callable(make_files) else make_files
            try:
                return self._once(method, path, options)
            except Retryable as again:
                if not repeatable:
                    raise again.failure from again.__cause__
                attempts.wait(again)

    def json(self, method: str, path: str, **options: Any) -> Any:
        """What the answer to `request` says."""
        return (self.request(method, path, **options)).json()

    def _once(self, method: str, path: str, options: dict[str, Any]) -> httpx2.Response:
        try:
            response = self._http.request(method, path, **options)
        except httpx2.TransportError as error:
            raise self._broken(error) from error
        if not response.is_success:
            raise refusal(response)
        return response

    def look(self, path: str) -> httpx2.Response:
        """One GET, tried once, whatever it answers. Raises ConnectionFailed."""
        try:
            return self._http.get(path)
        except httpx2.TransportError as error:
            raise self._broken(error).failure from error

    def _broken(self, error: httpx2.TransportError) -> Retryable:
        what = str(error) or type(error).__name__
        advice = environment.advice_on(what)
        return Retryable(ConnectionFailed(f"No answer from {self.base_url}{self._way} ({what}).{advice}"))

    @contextmanager
    def stream(self, path: str, headers: dict[str, str], **options: Any) -> Generator[httpx2.Response, None]:
        """One GET, tried once, whose body the caller reads piece by piece.

        Raises Retryable, also for what breaks while the caller reads, or ApiError.
        """
        try:
            with self._http.stream("GET", path, headers=headers, **options) as response:
                if not response.is_success:
                    response.read()
                    raise refusal(response)
                yield response
        except httpx2.TransportError as error:
            raise self._broken(error) from error
