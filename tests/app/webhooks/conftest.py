"""Receivers of this process, and webhooks in the database."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

ANY = {"url": "https://hooks.example.com/in"}


class Receiver:
    """An HTTP server on loopback that keeps what it gets and answers as told."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.answer: Callable[[BaseHTTPRequestHandler], None] = lambda handler: self.say(handler, 204)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                outer.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/in"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @staticmethod
    def say(handler: BaseHTTPRequestHandler, status: int, **headers: str) -> None:
        """An answer without a body."""
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """It is gone after the test."""
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def loopback(home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator allows loopback."""
    from app.platform.settings import get_settings

    monkeypatch.setenv("DFAD_WEBHOOK_ALLOW", '["127.0.0.1"]')
    get_settings.cache_clear()


@pytest.fixture
def hook() -> Callable[..., str]:
    """Makes a webhook of the tenant `local`, by default for all events; its id."""
    from app.webhooks import service
    from app.webhooks.schemas import WebhookRequest

    def make(tenant_id: str = "local", **asked: Any) -> str:
        request = WebhookRequest.model_validate({**ANY, "events": ["job.*"], **asked})
        return service.create(tenant_id, request, None)

    return make
