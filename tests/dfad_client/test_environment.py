"""The environment of a company's laptop: what cannot be used is named in one line, with exit code 4."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from dfad_client import Client, ConnectionFailed
from dfad_client.cli import app
from dfad_client.environment import advice_on, way_to

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE")


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("DFAD_CONFIG", str(tmp_path / "none.toml"))
    monkeypatch.setenv("DFAD_BASE_URL", "http://dfad.invalid:8000")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:1080", "socksio"),
        ("all_proxy", "socks5://127.0.0.1:1080", "socksio"),
        ("HTTPS_PROXY", "ftp://user:secret@x:1", "ftp://x:1"),
        ("HTTP_PROXY", "http://x:port", "port"),
        ("SSL_CERT_FILE", "/no/such.pem", "No such file"),
        ("SSL_CERT_FILE", __file__, "no certificates"),
    ],
)
def test_a_variable_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.setitem(__import__("sys").modules, "socksio", None)
    monkeypatch.setenv(name, value)
    done = CliRunner().invoke(app, ["list"])
    (line,) = done.stderr.splitlines()
    assert done.exit_code == 4
    assert line.startswith(f"dfad: {name} is ")
    assert words in line
    assert "secret" not in line


def test_a_proxy_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:secret@127.0.0.1:9")
    with Client(retries=0) as client, pytest.raises(ConnectionFailed) as failed:
        client.capabilities()
    assert "through the proxy http://127.0.0.1:9 of HTTP_PROXY; NO_PROXY=dfad.invalid" in str(failed.value)


@pytest.mark.parametrize(
    ("given", "way"),
    [
        ({}, ""),
        ({"HTTPS_PROXY": "http://p:1"}, ""),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "dfad.invalid"}, ""),
        ({"ALL_PROXY": "http://p:1"}, " through the proxy http://p:1 of ALL_PROXY"),
    ],
)
def test_the_way(monkeypatch: pytest.MonkeyPatch, given: dict[str, str], way: str) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert way_to(httpx2.URL("http://dfad.invalid:8000")).partition(";")[0] == way


def test_a_certificate_of_the_company_is_advised() -> None:
    assert "SSL_CERT_FILE" in advice_on("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate in chain")
    assert advice_on("[Errno 111] Connection refused") == ""
