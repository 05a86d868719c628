"""Attacks on what the service keeps: uploads, streams, keys, webhooks, the queue and large files.

Each prepares its rows in the database by itself, as many as a tenant has after a while, and then does with
one key what the API allows. What a worker does meanwhile (sending, claiming, deleting) runs in the attack's
process. An attack ends with an error where a promise to others breaks: a message that does not arrive, a
quota that is passed, a stream that outlives its key.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from benchmarks.abuse.attack import ATTACKER_ADDRESS, Attack, Context

MIB = 2**20
TENANT = "attacker"
REFUSED = (OSError, http.client.HTTPException)


def _send(context: Context, method: str, path: str, body: Any = None, key: str | None = None) -> int:
    """Status of one request; 0 without an answer."""
    headers = {"Authorization": f"Bearer {key or context.key}", "Content-Type": "application/json"}
    connection = context.connect()
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except REFUSED:
        return 0
    finally:
        connection.close()


def _upload(parts: int, part_bytes: int = 8 * MIB, *, complete: bool = False) -> str:
    """An upload of which all has arrived, or that is completed already; its id."""
    from app.models import Artifact, Upload, UploadPart
    from app.platform.db import database_now, session_scope
    from app.platform.ids import new_id
    from app.storage import get_store

    whole, upload_id, rows = hashlib.sha256(), new_id("upl"), []
    pieces = [os.urandom(part_bytes) for _ in range(parts)]
    for number, piece in enumerate(pieces, 1):
        whole.update(piece)
        blob_id = new_id("art")
        if not complete:
            stored = get_store().put(blob_id, [piece])
            about = {"blob_id": blob_id, "bytes": stored.bytes, "sha256": stored.sha256}
            rows.append(UploadPart(upload_id=upload_id, number=number, tenant_id=TENANT, **about))
    size, sha256 = parts * part_bytes, whole.hexdigest()
    about = {"tenant_id": TENANT, "filename": "t.pt", "bytes": size, "sha256": sha256}
    artifact_id = new_id("art")
    if complete:
        get_store().put(artifact_id, pieces)
    with session_scope() as session:
        now = database_now(session)
        upload = Upload(
            id=upload_id, part_bytes=part_bytes, created_at=now, expires_at=now + timedelta(1), **about
        )
        if complete:
            upload.status, upload.artifact_id = "completed", artifact_id
            session.add(Artifact(id=artifact_id, kind="upload", created_at=now, **about))
        session.add(upload)
        session.flush()
        session.add_all(rows)
    return upload_id


def _job(status: str) -> str:
    """A job of the attacker; its id."""
    from sqlalchemy import update

    from app.models import Job
    from app.platform.db import session_scope
    from benchmarks.api_load import fill

    (job_id,) = fill(1, tenant_id=TENANT)
    with session_scope() as session:
        session.execute(
            update(Job).where(Job.id == job_id).values(status=status, finished_at=None, attempt=0)
        )
    return job_id


def many_completions(context: Context) -> None:
    """45 times `complete` of one upload at once, again and again."""
    while not context.stop.is_set():
        path = f"/uploads/{_upload(6)}/complete"
        with ThreadPoolExecutor(45) as pool:
            answers = list(pool.map(lambda _, path=path: _send(context, "POST", path), range(45)))
        assert not [status for status in answers if status >= 500], answers


def teachers_of_deleted_uploads(context: Context) -> None:
    """A teacher is made of an upload in the moment in which the upload is deleted."""
    while not context.stop.is_set():
        upload_id = _upload(1, 4 * MIB, complete=True)
        with ThreadPoolExecutor(2) as pool:
            made = pool.submit(_send, context, "POST", "/teachers", {"upload_id": upload_id})
            gone = pool.submit(_send, context, "DELETE", f"/uploads/{upload_id}")
            answers = (made.result(), gone.result())
        assert max(answers) < 500, answers


class _Hanging(BaseHTTPRequestHandler):
    """A receiver that answers on the path /healthy alone."""

    def do_POST(self) -> None:
        """Take it, or keep the sender waiting."""
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != "/healthy":
            time.sleep(60)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def _receiver() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hanging)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()


def _owe(tenant: str, url: str, number: int) -> str:
    """A webhook that is owed messages; its id."""
    from app.platform.db import database_now, session_scope
    from app.webhooks import service
    from app.webhooks.owing import new_delivery
    from app.webhooks.schemas import WebhookRequest

    webhook_id = service.create(tenant, WebhookRequest(url=url, events=["job.*"]), None)
    with session_scope() as session:
        now = database_now(session)
        made = (new_delivery(webhook_id, tenant, "job.queued", "{}", now) for _ in range(number))
        session.add_all(made)
    return webhook_id


def hanging_receivers(context: Context) -> None:
    """Two tenants owe hundreds of messages to receivers that hang; a third's has to arrive."""
    from app.models import Webhook
    from app.platform.db import read_scope
    from worker.webhook_sender import WebhookSender

    sender = WebhookSender()
    with _receiver() as url:
        for tenant in (TENANT, "accomplice"):
            for number in range(8):
                _owe(tenant, f"{url}/hang/{number}", 50)
        sender.start()
        time.sleep(1)
        webhook_id = _owe("third", f"{url}/healthy", 1)
        context.stop.wait()
        deadline, arrived = time.monotonic() + 15, False
        while not arrived and time.monotonic() < deadline:
            time.sleep(0.2)
            with read_scope() as session:
                webhook = session.get_one(Webhook, webhook_id)
                arrived = webhook.healthy_at > webhook.created_at
        sender.close()
        assert arrived, "the third tenant's message did not arrive"


def _open_stream(context: Context, job_id: str, key: str) -> socket.socket | None:
    """An event stream whose answer has begun; None where it is refused."""
    request = f"GET /jobs/{job_id}/events HTTP/1.1\r\nHost: {context.host}\r\nAccept: text/event-stream\r\n"
    request += f"Authorization: Bearer {key}\r\n\r\n"
    source = (ATTACKER_ADDRESS, 0)
    with suppress(OSError):
        stream = socket.create_connection((context.host, context.port), 30, source_address=source)
        stream.sendall(request.encode())
        if stream.recv(12).endswith(b"200"):
            return stream
        stream.close()
    return None


def many_streams(context: Context) -> None:
    """800 event streams of one key, of a job in which something happens all the time.

    From eight connections at once; what is refused is asked for again, whatever the answer says of when.
    """
    from app.jobs.events import append_event
    from app.platform.db import session_scope

    job_id = _job("running")

    def open_hundred(_: int) -> list[socket.socket]:
        opened: list[socket.socket] = []
        while len(opened) < 100 and not context.stop.is_set():
            stream = _open_stream(context, job_id, context.key)
            opened += [stream] if stream is not None else []
        context.stop.wait()
        return opened

    with ThreadPoolExecutor(8) as pool:
        opening = pool.map(open_hundred, range(8))
        while not context.stop.wait(0.2):
            with session_scope() as session:
                append_event(session, job_id, "progress", {"step": 1})
        for stream in (one for some in opening for one in some):
            stream.close()


def streams_of_a_revoked_key(context: Context) -> None:
    """Streams go on after their key was revoked."""
    job_id = _job("running")
    connection = context.connect()
    headers = {"Authorization": f"Bearer {context.operator_key}", "Content-Type": "application/json"}
    body = {"name": "short", "tenant_id": TENANT, "scopes": ["read"]}
    connection.request("POST", "/keys", json.dumps(body), headers)
    made = json.loads(connection.getresponse().read())
    tried = [_open_stream(context, job_id, made["key"]) for _ in range(50)]
    opened = [stream for stream in tried if stream is not None]
    assert len(opened) == 50
    assert _send(context, "DELETE", f"/keys/{made['id']}", key=context.operator_key) == 204
    context.stop.wait()
    for stream in opened:
        stream.settimeout(10)
        with suppress(ConnectionError):
            while stream.recv(65536):
                pass
        stream.close()


def claims_at_once(context: Context) -> None:
    """Eight workers claim the jobs of a tenant that may run two at once."""
    from sqlalchemy import update

    from app.jobs.queue import claim_next
    from app.models import Job
    from app.platform.db import session_scope

    ids = [_job("queued") for _ in range(16)]

    def claim(number: int) -> bool:
        with session_scope() as session:
            return claim_next(session, f"w{number}", ("auto", "cpu")) is not None

    with ThreadPoolExecutor(8) as pool:
        while not context.stop.is_set():
            taken = sum(pool.map(claim, range(8)))
            assert taken <= 2, f"{taken} jobs of a tenant that may run two"
            with session_scope() as session:
                session.execute(update(Job).where(Job.id.in_(ids)).values(status="queued"))


def large_file_deleted(context: Context) -> None:
    """A file of hundreds of MiB is deleted; the sweeper does what the request leaves."""
    from worker.sweeper import sweep_removals

    while not context.stop.is_set():
        upload_id = _upload(1, 256 * MIB, complete=True)
        assert _send(context, "DELETE", f"/uploads/{upload_id}") == 204
        sweep_removals()


def _attack(name: str, run: Callable[[Context], None], **settings: str) -> Attack:
    return Attack(f"one key: {name}", run, settings)


ATTACKS = [
    _attack("45 completions of one upload", many_completions),
    _attack("teachers of deleted uploads", teachers_of_deleted_uploads),
    _attack("receivers that hang", hanging_receivers, DFAD_WEBHOOK_ALLOW='["127.0.0.1"]'),
    _attack("800 event streams", many_streams),
    _attack("streams of a revoked key", streams_of_a_revoked_key),
    _attack("claims at once", claims_at_once),
    _attack("a large file is deleted", large_file_deleted),
]
