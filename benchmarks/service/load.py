"""A small load generator for one HTTP/1.1 server: as fast as it goes, or at a fixed rate.

It does little more than count bytes, so that on two processors it is the server that is measured.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """What came of it."""

    requests: int
    seconds: float
    errors: int
    latencies: Sequence[float]
    """Seconds, ascending. At a fixed rate from the time a request was due, not from when it was sent."""

    @property
    def per_second(self) -> float:
        """Requests answered with 2xx."""
        return (self.requests - self.errors) / self.seconds

    def quantile_ms(self, share: float) -> float:
        """Milliseconds within which `share` of the requests were answered."""
        if not self.latencies:
            return float("nan")
        return 1000 * self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


class _Connection:
    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, request: bytes) -> bool:
        """Send and read one answer to its end; whether it was 2xx."""
        if self._writer is None or self._reader is None:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port, limit=2**22)
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        lower = head.lower()
        if b"transfer-encoding: chunked" in lower:
            while size := int(await self._reader.readuntil(b"\r\n"), 16):
                await self._reader.readexactly(size + 2)
            await self._reader.readexactly(2)
        else:
            length = lower.partition(b"content-length:")[2].partition(b"\r\n")[0]
            await self._reader.readexactly(int(length or 0))
        if b"connection: close" in lower:
            self.close()
        return head[9:10] == b"2"

    def close(self) -> None:
        """Also what was broken is begun anew at the next request."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


def request_bytes(host: str, port: int, paths: Sequence[str]) -> list[bytes]:
    """GET requests for these paths."""
    return [f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: */*\r\n\r\n".encode() for path in paths]


async def _run(
    where: tuple[str, int], paths: Sequence[str], connections: int, seconds: float, rate: float | None
) -> Load:
    requests = request_bytes(*where, paths)
    latencies: list[float] = []
    errors = number = 0
    begun = time.perf_counter()

    async def client() -> None:
        nonlocal errors, number
        connection = _Connection(*where)
        while True:
            mine, number = number, number + 1
            due = begun + mine / rate if rate else time.perf_counter()
            if due - begun >= seconds:
                break
            if (ahead := due - time.perf_counter()) > 0:
                await asyncio.sleep(ahead)
            try:
                errors += not await connection.ask(requests[mine % len(requests)])
            except (OSError, asyncio.IncompleteReadError):
                errors += 1
                connection.close()
            latencies.append(time.perf_counter() - due)
        connection.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    return Load(len(latencies), time.perf_counter() - begun, errors, sorted(latencies))


def load(
    host: str, port: int, paths: Sequence[str], *, connections: int, seconds: float, rate: float | None = None
) -> Load:
    """GET the paths in turn over so many connections; at most `rate` requests a second in all."""
    return asyncio.run(_run((host, port), paths, connections, seconds, rate))
