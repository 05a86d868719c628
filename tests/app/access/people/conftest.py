"""An issuer in this process whose keys the tests hold: it signs whatever they want, and counts who asks."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

AUDIENCE = "https://distillation.example"
CLIENT = "page"
RULES = [
    {"group": "vision-readers", "tenant": "vision", "role": "reader"},
    {"group": "vision-writers", "tenant": "vision", "role": "writer"},
    {"group": "audio-admins", "tenant": "audio", "role": "admin"},
    {"group": "audio-readers", "tenant": "audio", "role": "reader"},
    {"group": "platform", "role": "operator"},
]
Json = dict[str, Any]


class Issuer:
    """Its discovery document and its keys, over HTTP."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.seconds = 0.0
        """That every answer takes."""
        self.says: Json = {}
        """In the discovery document, in the place of what is right."""
        self.keys: list[Any] = []
        self.answers: dict[str, Any] = {}
        """JSON by path, besides."""
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                time.sleep(issuer.seconds)
                body = json.dumps(issuer.answer(self.path)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.do_GET()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str) -> Json:
        if path in self.answers:
            return dict(self.answers[path])
        if path == "/jwks":
            return {"keys": [key.as_dict(private=False) for key in self.keys]}
        places = {"jwks_uri": "jwks", "authorization_endpoint": "auth", "token_endpoint": "token"}
        return {"issuer": self.url, **{name: f"{self.url}/{at}" for name, at in places.items()}, **self.says}

    def count(self, path: str) -> int:
        """How often it was asked for that."""
        return self.asked.count(path)

    def token(self, key: Any = None, header: Json | None = None, **claims: Any) -> str:
        """An access token of Ada, who is in no group unless `groups` says so; None takes a claim away."""
        from joserfc import jwt

        key = key or self.keys[0]
        now = int(time.time())
        about = {
            "iss": self.url, "aud": AUDIENCE, "sub": "ada-1", "preferred_username": "ada", "iat": now,
            "exp": now + 300,
        }  # fmt: skip
        about = {name: value for name, value in (about | claims).items() if value is not None}
        head = {"alg": "RS256" if key.key_type == "RSA" else "ES256", "kid": key.kid} | (header or {})
        return jwt.encode(head, about, key, algorithms=[head["alg"]])


@pytest.fixture(scope="session")
def signing_keys() -> list[Any]:
    """Three that are made once: making one takes a while."""
    from joserfc.jwk import ECKey, RSAKey

    return [
        RSAKey.generate_key(2048, {"kid": "first"}),
        ECKey.generate_key("P-256", {"kid": "second"}),
        ECKey.generate_key("P-256", {"kid": "never-published"}),
    ]


@pytest.fixture
def issuer(signing_keys: list[Any]) -> Iterator[Issuer]:
    found = Issuer()
    found.keys = signing_keys[:1]
    yield found
    found.close()


@pytest.fixture
def settings(database: str, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets what the sign-in needs, and more; before the server starts."""

    def set_all(**more: str) -> None:
        from app.platform.settings import get_settings

        wanted = {
            "issuer": issuer.url, "audience": AUDIENCE, "client_id": CLIENT, "client_secret": "hush",
            "roles": json.dumps(RULES), **more,
        }  # fmt: skip
        for name, value in wanted.items():
            monkeypatch.setenv(f"DFAD_OIDC_{name.upper()}", value)
        get_settings.cache_clear()

    return set_all


@pytest.fixture
def client(
    home: Path, settings: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> Iterator[TestClient]:
    """A server with the operator's key that takes the issuer's tokens."""
    monkeypatch.setenv("DFAD_API_KEY", "the-operators")
    settings()
    from app.main import create_app

    with TestClient(create_app(), raise_server_exceptions=False, follow_redirects=False) as test_client:
        yield test_client


def bearer(token: str, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", **more}
