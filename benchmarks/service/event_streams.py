"""Watching a job's event stream over connections that are cut: a client as the standard has it, and a proxy.

The client keeps nothing of an event that did not arrive whole, remembers the id of the last one that did, and
comes back with it. What it saw is kept as it came; nothing is sorted, and nothing left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import struct
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

TERMINAL = ("job.succeeded", "job.failed", "job.cancelled")
MEAN_SECONDS = 2.5
MEAN_BYTES = 6000
"""Of a connection's life: it is cut at whichever comes first, in the middle of whatever is under way."""
PATIENCE_SECONDS = 60.0


class Frames:
    """Bytes of a chunked answer in, whole events out, however they are cut."""

    def __init__(self) -> None:
        self._raw, self._text = b"", b""
        self._fields: dict[str, str] = {}
        self.ended = False
        """The answer came to its proper end."""
        self.retry: int | None = None

    def feed(self, data: bytes) -> Iterator[tuple[int, str, str]]:
        """Id, type and data of each event that is whole with `data`."""
        self._raw += data
        while not self.ended and (end := self._raw.find(b"\r\n")) >= 0:
            size = int(self._raw[:end], 16)
            if len(self._raw) < end + 2 + size + 2:
                break
            self._text += self._raw[end + 2 : end + 2 + size]
            self._raw = self._raw[end + 2 + size + 2 :]
            self.ended = size == 0
        while (end := self._text.find(b"\n")) >= 0:
            line, self._text = self._text[:end].rstrip(b"\r").decode(), self._text[end + 1 :]
            if line:
                self._line(line)
            elif self._fields:
                whole, self._fields = self._fields, {}
                if "data" in whole:
                    yield int(whole["id"]), whole.get("event", "message"), whole["data"]

    def _line(self, line: str) -> None:
        name, _, value = line.partition(":")
        if name == "retry":
            self.retry = int(value)
        elif name:  # else a comment, which keeps the connection alive
            self._fields[name] = value.removeprefix(" ")


def reset(writer: asyncio.StreamWriter) -> None:
    """End the connection at once, with an RST where the system allows."""
    connection = writer.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@dataclass
class Watcher:
    """One that watches to the end, on one connection after another."""

    job_id: str
    ports: tuple[int, ...]
    """Of the server, and of the proxy in front of it."""
    chance: random.Random
    seen: list[int] = field(default_factory=list)
    cuts: int = 0
    left_alone: int = 0
    """Answers that ended in good order before the last event: the server's fault."""
    refused: int = 0
    garbled: int = 0
    """Events whose id is not the number that their own data say."""
    done: bool = False

    async def watch(self) -> None:
        """Until the last event has been seen."""
        while not self.done:
            try:
                await self._connection()
            except (OSError, asyncio.IncompleteReadError):
                self.cuts += 1
            await asyncio.sleep(self.chance.uniform(0, 0.2))

    async def _connection(self) -> None:
        """One connection, until it is cut or the stream has ended."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.chance.choice(self.ports))
        try:
            writer.write(self._request())
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in head[:20] or b"text/event-stream" not in head:
                self.refused += 1
                return
            await self._read(reader)
        finally:
            if self.chance.random() < 0.5:
                reset(writer)
            else:
                writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        frames = Frames()
        left = int(self.chance.expovariate(1 / MEAN_BYTES))
        try:
            async with asyncio.timeout(self.chance.expovariate(1 / MEAN_SECONDS)):
                while left > 0 and not frames.ended:
                    data = await reader.read(min(left, 4096))
                    if not data:
                        raise asyncio.IncompleteReadError(b"", None)
                    left -= len(data)
                    for number, kind, text in frames.feed(data):
                        self.seen.append(number)
                        self.garbled += json.loads(text)["seq"] != number
                        self.done = self.done or kind in TERMINAL
        except TimeoutError:
            left = 0
        if frames.ended:
            self.left_alone += not self.done
        elif not self.done:
            self.cuts += 1

    def _request(self) -> bytes:
        last = self.seen[-1] if self.seen else 0
        by_header = self.chance.random() < 0.5
        query = "" if by_header else f"?after={last}"
        more = f"Last-Event-ID: {last}\r\n" if by_header and last else ""
        return (
            f"GET /jobs/{self.job_id}/events{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Accept: text/event-stream\r\n{more}\r\n"
        ).encode()


class CuttingProxy:
    """Passes bytes on and cuts connections, in the middle of an event as often as not."""

    def __init__(self, upstream: int, chance: random.Random) -> None:
        self._upstream, self._chance = upstream, chance
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        """Its port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._keep(self._serve(reader, writer))

    def _keep(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:
            reset(writer)
            return
        asking = self._keep(self._pass(reader, up_writer, 2**30))
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(self._chance.expovariate(1 / MEAN_SECONDS)):
                await self._pass(up_reader, writer, int(self._chance.expovariate(1 / MEAN_BYTES)))
        asking.cancel()
        for end in (writer, up_writer):
            if self._chance.random() < 0.5:
                reset(end)
            else:
                end.close()

    @staticmethod
    async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int) -> None:
        with contextlib.suppress(OSError):
            while left > 0 and (data := await reader.read(min(left, 4096))):
                left -= len(data)
                writer.write(data)
                await writer.drain()

    async def close(self) -> None:
        """No more connections."""
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
