"""Attacks with files on their way in: more bytes than the tenant may keep, in bodies that name no length."""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from benchmarks.abuse.attack import ATTACKER_ADDRESS, Attack, Context

MIB = 2**20
SLACK_BYTES = MIB
"""Allowed above the quota: one piece on its way into the store."""
AT_ONCE = 8
PIECE = b"%x\r\n" % 65536 + b"x" * 65536 + b"\r\n"
MOST_PIECES = 512
TIMEOUT_SECONDS = 10.0
LOOK_SECONDS = 0.1
FILE = b'--b\r\nContent-Disposition: form-data; name="teacher"; filename="t"\r\n\r\nPK\x03\x04'
LABELLED_SPEC = b'--b\r\nContent-Disposition: form-data; name="spec"; filename="s"\r\n\r\n'
BODIES = [("/jobs", FILE), ("/jobs/validate", FILE), ("/teachers", FILE), ("/jobs", LABELLED_SPEC)]


def _send_without_end(context: Context, path: str, begin: bytes) -> int:
    """Send a body until there is an answer; its status, or 0 without one."""
    head = f"POST {path} HTTP/1.1\r\nHost: {context.host}\r\nAuthorization: Bearer {context.key}\r\n"
    head += "Transfer-Encoding: chunked\r\nContent-Type: multipart/form-data; boundary=b\r\n\r\n"
    address, source = (context.host, context.port), (ATTACKER_ADDRESS, 0)
    with contextlib.suppress(OSError), socket.create_connection(address, TIMEOUT_SECONDS, source) as body:
        body.sendall(head.encode() + b"%x\r\n%b\r\n" % (len(begin), begin))
        for _ in range(MOST_PIECES):
            if context.stop.is_set():
                return 0
            if select.select([body], [], [], 0)[0]:
                break
            body.sendall(PIECE)
        answer = body.recv(12)
        return int(answer[9:12]) if len(answer) == 12 else 0
    return 0


def _held_bytes(since: datetime) -> int:
    """Bytes of files that the database has taken since then, whether a row names them or not."""
    from sqlalchemy import func, select

    from app.models import ArtifactChunk
    from app.platform.db import read_scope

    length = func.sum(func.length(ArtifactChunk.data))
    with read_scope() as session:
        return int(session.scalar(select(length).where(ArtifactChunk.created_at >= since)) or 0)


def bodies_past_the_quota(context: Context) -> None:
    """Eight bodies at once, each of as many bytes as the server takes, to all addresses that take files."""
    from app.platform.db import database_now, read_scope
    from app.platform.settings import get_settings

    limit = get_settings().quotas["attacker"].stored_bytes
    assert limit is not None
    with read_scope() as session:
        since = database_now(session)
    turns, answers, lock = itertools.cycle(BODIES), set[int](), threading.Lock()

    def attack(_: int) -> None:
        while not context.stop.is_set():
            with lock:
                path, begin = next(turns)
            answers.add(_send_without_end(context, path, begin))

    most = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        attackers = pool.map(attack, range(AT_ONCE))
        while not context.stop.wait(LOOK_SECONDS):
            most = max(most, _held_bytes(since))
        list(attackers)
    assert most <= limit + SLACK_BYTES, f"{most} bytes were held of a quota of {limit}"
    assert answers <= {0, 413, 429}, answers


ATTACKS = [Attack("one key: bodies past the quota", bodies_past_the_quota)]
