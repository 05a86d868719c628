"""The key, and where the server may listen without one."""

import subprocess
import sys

import anyio
import pytest
from pydantic import SecretStr, ValidationError

from app.__main__ import refusal
from app.platform.settings import Settings


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch, database: str) -> str:
    monkeypatch.setenv("DFAD_API_KEY", "s3cret")
    return "s3cret"


def test_only_the_key_opens(key: str, request: pytest.FixtureRequest) -> None:
    client = request.getfixturevalue("client")
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {key}"}):
        answer = client.get("/jobs", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert client.get("/jobs", headers={"Authorization": f"Bearer {key}"}).status_code == 200
    assert client.get("/healthz").status_code == 200


def test_the_key_is_asked_for_before_the_body(key: str, request: pytest.FixtureRequest) -> None:
    app, answers = request.getfixturevalue("client").app, []

    async def receive() -> None:
        pytest.fail("the body was read")

    async def send(message: dict[str, object]) -> None:
        answers.append(message)

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/jobs", "raw_path": b"/jobs", "query_string": b""}
    anyio.run(app, {**scope, "headers": headers}, receive, send)
    assert answers[0]["status"] == 401


@pytest.mark.parametrize(
    ("host", "refused"),
    [("127.0.0.1", False), ("localhost", False), ("::1", False), ("0.0.0.0", True), ("192.168.1.5", True)],
)
def test_listening_without_a_key(home: object, host: str, refused: bool) -> None:
    assert (refusal(Settings(host=host)) is not None) == refused
    assert refusal(Settings(host=host, api_key=SecretStr("a-long-operators-key"))) is None
    assert "12 characters or more" in str(refusal(Settings(host=host, api_key=SecretStr("x" * 11))))


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("odd", [" ", "a b", "key\n", "ключ"])
def test_keys_that_no_header_can_carry(home: object, host: str, odd: str) -> None:
    assert "DFAD_API_KEY" in str(refusal(Settings(host=host, api_key=SecretStr(odd))))


def test_an_empty_key_is_no_key(home: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFAD_API_KEY", "")
    assert Settings().api_key is None
    assert refusal(Settings(host="0.0.0.0")) is not None
    with pytest.raises(ValidationError):
        Settings(api_key=SecretStr(""))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("HOST", "0.0.0.0", "DFAD_API_KEY"),
        ("PORT", "none", "DFAD_PORT"),
        ("AUDIT_DAYS", "1e9", "DFAD_AUDIT_DAYS"),
    ],
)
def test_the_server_says_so_and_ends(home: object, name: str, value: str, said: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "app"], env={"PATH": "/usr/bin", f"DFAD_{name}": value, "PYTHONPATH": "."},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
