"""The address that several server processes listen on."""

from __future__ import annotations

import socket


class Listener(socket.socket):
    """A socket on an address; in each server process that it is sent to, one of its own on the same address.

    The kernel deals connections out among them. Of one queue that all share, whoever wakes first takes all
    that wait, and one process works while the others sleep.

    Its protocol is named, which uvicorn's own leaves open: only then does asyncio turn Nagle's algorithm off,
    and an answer in two pieces does not wait 40 ms for the client's acknowledgement of the first.
    """

    def __init__(self, host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.bind((host, port))

    def __reduce__(self) -> tuple[type[Listener], tuple[str, int]]:
        return Listener, self.getsockname()[:2]
