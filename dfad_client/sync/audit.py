# Made from dfad_client/aio/audit.py by `python tools/sync_twin.py`: change that one, and run it.
"""The audit: who changed what."""

from __future__ import annotations

import json
from collections.abc import Iterator

from dfad_client.answers import Json
from dfad_client.retrying import Retryable
from dfad_client.sync.transport import Transport


class Audit:
    """`client.audit`; needs a key with the scope admin, or the operator's."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def export(self, *, since: str | None = None, until: str | None = None) -> Iterator[Json]:
        """Every line from `since` on and before `until` (RFC 3339), the oldest first.

        Tried once. Raises ConnectionFailed where it breaks off: what came before is not all of it then.
        """
        query = {name: at for name, at in (("since", since), ("until", until)) if at is not None}
        accept = {"Accept": "application/x-ndjson"}
        try:
            with self._transport.stream("/audit/export", accept, params=query) as answer:
                rest = b""
                for piece in answer.iter_bytes():
                    # Not where Python sees ends of lines: U+2028 in a path, say, is none here.
                    *lines, rest = (rest + piece).split(b"\n")
                    for line in lines:
                        yield json.loads(line)
        except Retryable as again:
            raise again.failure from again.__cause__
