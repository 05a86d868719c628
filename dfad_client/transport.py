"""One HTTP call: what is tried again, for how long, and what every failure becomes."""

from __future__ import annotations

import email.utils
import ipaddress
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx

from dfad_client.errors import ConnectionFailed, DfadClientError, problem_of

#: Answers that say "not now".
RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
#: The first try of the same request is still in work; its answer can be had in a moment.
IN_FLIGHT_CODE = "idempotency_in_flight"
#: A server that asks for a longer pause than this gets no second try: the caller decides.
LONGEST_PAUSE_SECONDS = 60.0
LONGEST_BACKOFF_SECONDS = 20.0


class Retryable(Exception):
    """A failure that another try may mend: what to raise in the end, and the pause asked for."""

    def __init__(self, failure: DfadClientError, pause: float | None = None) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.pause = pause


class Attempts:
    """Counts failures in a row and waits between tries: doubling, with jitter so that crowds spread."""

    def __init__(self, retries: int, backoff_seconds: float, sleep: Callable[[float], None]) -> None:
        self._retries = retries
        self._backoff_seconds = backoff_seconds
        self._sleep = sleep
        self._failures = 0

    def progress(self) -> None:
        """Something arrived: the count starts anew."""
        self._failures = 0

    def wait(self, again: Retryable) -> None:
        """Wait before the next try; raise what went wrong if there is none left."""
        if self._failures >= self._retries:
            raise again.failure from again.__cause__
        pause = again.pause
        if pause is None:
            longest = min(self._backoff_seconds * 2.0**self._failures, LONGEST_BACKOFF_SECONDS)
            pause = longest * random.uniform(0.5, 1.0)
        self._failures += 1
        self._sleep(pause)


def pause_asked(response: httpx.Response) -> float | None:
    """Seconds of a Retry-After header (a number or a date), or None."""
    value = response.headers.get("retry-after", "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        when = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class Transport:
    """An httpx client that retries what may be retried and raises this package's errors."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        *,
        timeout_seconds: float = 60.0,
        retries: int = 4,
        backoff_seconds: float = 0.5,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._retries, self._backoff_seconds, self._sleep = retries, backoff_seconds, sleep
        try:
            url = httpx.URL(self.base_url)
        except httpx.InvalidURL as error:
            raise ConnectionFailed(f"{base_url!r} is not an address: {error}") from None
        if url.scheme not in ("http", "https") or not url.host:
            raise ConnectionFailed(f"{base_url!r} is not an address like http://127.0.0.1:8000.")
        headers = {"User-Agent": "dfad-client", "Accept": "application/json"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        self._http = httpx.Client(
            base_url=self.base_url,
            headers=headers,
            timeout=httpx.Timeout(timeout_seconds, connect=10.0),
            transport=transport,
            # No proxy can reach this machine's own loopback, whatever HTTP_PROXY says.
            trust_env=not is_loopback(url.host),
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def attempts(self, *, retries: int | None = None) -> Attempts:
        """A fresh count of tries, with this transport's patience."""
        return Attempts(self._retries if retries is None else retries, self._backoff_seconds, self._sleep)

    def sleep(self, seconds: float) -> None:
        """Wait between polls."""
        self._sleep(seconds)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send, try again where that helps, and return the successful answer, read whole.

        `options` are those of httpx; `files` may be a function, called for each try, so that a file
        is sent from its beginning. Raises ApiError or ConnectionFailed.
        """
        attempts = self.attempts()
        make_files = options.pop("files", None)
        while True:
            if make_files is not None:
                options["files"] = make_files() if callable(make_files) else make_files
            try:
                return self._once(method, path, options)
            except Retryable as again:
                attempts.wait(again)

    def _once(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        try:
            response = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise self._broken(error) from error
        if not response.is_success:
            raise _refusal(response)
        return response

    def look(self, path: str) -> httpx.Response:
        """One GET, tried once, whatever it answers. Raises ConnectionFailed."""
        try:
            return self._http.get(path)
        except httpx.TransportError as error:
            raise self._broken(error).failure from error

    def _broken(self, error: httpx.TransportError) -> Retryable:
        what = str(error) or type(error).__name__
        return Retryable(ConnectionFailed(f"No answer from {self.base_url} ({what})."))

    @contextmanager
    def stream(self, path: str, headers: dict[str, str], **options: Any) -> Iterator[httpx.Response]:
        """One GET, tried once, whose body the caller reads piece by piece.

        Raises Retryable, also for what breaks while the caller reads, or ApiError.
        """
        try:
            with self._http.stream("GET", path, headers=headers, **options) as response:
                if not response.is_success:
                    response.read()
                    raise _refusal(response)
                yield response
        except httpx.TransportError as error:
            raise self._broken(error) from error


def _refusal(response: httpx.Response) -> Exception:
    """The error of a refusing answer that has been read; Retryable if a later try may help."""
    problem, pause = problem_of(response), pause_asked(response)
    later = problem.status in RETRIED_STATUSES or problem.code == IN_FLIGHT_CODE
    return Retryable(problem, pause) if later and (pause or 0) <= LONGEST_PAUSE_SECONDS else problem
