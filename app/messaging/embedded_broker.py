"""The embedded broker: kombu's transport of files, with every file whole before anybody can see it.

kombu opens a message's (and a table's) file under its final name and writes afterwards. Who reads in
between finds nothing there, and an empty message ends a whole Celery worker. Here a file is written beside
and renamed.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
import uuid
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, filesystem

logger = logging.getLogger(__name__)

SCHEME = "dfad-files"
TRANSPORT_ALIASES[SCHEME] = "app.messaging.embedded_broker:Transport"


def write_whole(path: Path, content: str) -> None:
    """Put a file in place at once. Raises OSError; then nothing is left behind under `path`."""
    beside = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        beside.write_text(content, encoding="utf-8")
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


class Channel(filesystem.Channel):
    """Messages `{time}_{uuid}.{queue}.msg` in one folder; the oldest first."""

    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:  # type: ignore[override]
        name = f"{time.time_ns()}_{uuid.uuid4().hex}.{queue}.msg"
        write_whole(Path(self.data_folder_out) / name, json.dumps(payload))

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        """The oldest message, which nobody else gets then. Raises Empty."""
        folder = Path(self.data_folder_in)
        for name in sorted(n for n in os.listdir(folder) if n.partition(".")[2] == f"{queue}.msg"):
            try:
                content = (folder / name).read_text(encoding="utf-8")
                (folder / name).unlink()  # it belongs to the one who could remove it
                return json.loads(content)
            except FileNotFoundError:
                continue  # another worker was faster
            except ValueError:
                # Left by a machine that lost its power: the reconciler sends again what is still due.
                logger.warning("an unreadable message was thrown away")
        raise Empty

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        with (self.control_folder / "lock").open("w") as guard:  # held until it is closed
            fcntl.flock(guard, fcntl.LOCK_EX)
            table = self._exchange_file(exchange)  # type: ignore[no-untyped-call]
            bound = json.loads(table.read_text(encoding="utf-8")) if table.exists() else []
            entry = [routing_key or "", pattern or "", queue or ""]
            if entry not in bound:
                write_whole(table, json.dumps([entry, *bound]))


class Transport(filesystem.Transport):
    """What Celery is told to use for `dfad-files://`."""

    Channel = Channel
