"""The other tenant: polls `GET /jobs/{id}` at a fixed rate and keeps the time of every answer."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Sequence

PER_SECOND = 20
TIMEOUT_SECONDS = 30.0


class Poller(threading.Thread):
    """Polls until `finish`. Every second request uses a new connection, as a second client would."""

    def __init__(self, host: str, port: int, key: str, job_ids: Sequence[str]) -> None:
        super().__init__(daemon=True)
        self._where, self._job_ids = (host, port), job_ids
        self._headers = {"Authorization": f"Bearer {key}"}
        self._over = threading.Event()
        self._connection: http.client.HTTPConnection | None = None
        self.latencies: list[float] = []
        """Seconds from the time when a request was due to the end of its answer."""
        self.failures: list[str] = []
        """Answers with 5xx, and requests without an answer."""
        self.refusals = 0
        """Other answers than 200."""

    def run(self) -> None:
        """Poll. A late answer delays the requests behind it, whose times count from when they were due."""
        begin, number = time.perf_counter(), 0
        while not self._over.is_set():
            due = begin + number / PER_SECOND
            if (ahead := due - time.perf_counter()) > 0:
                time.sleep(ahead)
            status = self._ask(self._job_ids[number % len(self._job_ids)], anew=number % 2 == 1)
            self.latencies.append(time.perf_counter() - due)
            if isinstance(status, str) or status >= 500:
                self.failures.append(str(status))
            elif status != 200:
                self.refusals += 1
            number += 1

    def _ask(self, job_id: str, *, anew: bool) -> int | str:
        connection = None if anew else self._connection
        if connection is None:
            connection = http.client.HTTPConnection(*self._where, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("GET", f"/jobs/{job_id}", headers=self._headers)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            if not anew:
                self._connection = None
            return type(error).__name__
        if anew:
            connection.close()
        else:
            self._connection = connection
        return answer.status

    def finish(self) -> None:
        """Let the request under way end, and no other begin."""
        self._over.set()
        self.join()
        if self._connection is not None:
            self._connection.close()

    def p99_ms(self) -> float:
        """Milliseconds within which 99 of 100 requests were answered."""
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))] if ordered else float("nan")
