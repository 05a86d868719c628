"""What an attack is, and what it gets."""

from __future__ import annotations

import http.client
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event

ATTACKER_ADDRESS = "127.0.0.2"
"""Client address of attacks: no trusted proxy, and not that of the tenant that polls."""
NICE = 10
"""An attacker has a machine of its own: here it takes what processor time the server leaves."""


@dataclass(frozen=True)
class Context:
    """The server under attack, and the means of the attacker.

    An attack runs in a process of its own, where the server's `DFAD_*` settings are in the environment.
    """

    host: str
    port: int
    key: str
    """Key of the tenant `attacker`, with the scopes read and write. Attacks without a key ignore it."""
    operator_key: str
    """For preparations alone."""
    stop: Event
    """Set when the attack has to return; an attack that has nothing left to do may return before."""

    @property
    def url(self) -> str:
        """Base URL of the server."""
        return f"http://{self.host}:{self.port}"

    def connect(self, timeout: float = 30.0) -> http.client.HTTPConnection:
        """A connection from the attacker's address."""
        return http.client.HTTPConnection(
            self.host, self.port, timeout=timeout, source_address=(ATTACKER_ADDRESS, 0)
        )

    def bearer(self) -> dict[str, str]:
        """Headers with the attacker's key."""
        return {"Authorization": f"Bearer {self.key}"}


@dataclass(frozen=True)
class Attack:
    """One attack: `run` attacks until `context.stop` is set.

    `run` is a function of a module, as it is called in another process. Refusals (4xx) and connections that
    the server closes are the expected outcome, no errors. `settings` are `DFAD_*` variables that the server
    needs for it; the same variable must not have two values among all attacks.
    """

    name: str
    run: Callable[[Context], None]
    settings: Mapping[str, str] = field(default_factory=dict)


def carry_out(attack: Attack, context: Context) -> None:
    """Run the attack; for a process of its own."""
    os.nice(NICE)
    attack.run(context)
