"""Keys cannot be guessed as fast as the server answers, and nobody else is kept out by who tries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.access import credentials
from app.access.keys import wrong_keys
from app.access.keys.principal import OPERATOR as OPERATOR_PRINCIPAL
from app.platform.client_address import source_of
from tests.app.http.test_refusals import assert_problem

OPERATOR = "the-operators-long-key"
OURS = f"dfad_{'0' * 32}_{'a' * 43}"


@pytest.fixture
def client(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """A server that needs a key, and refuses at once where it otherwise takes its time."""
    monkeypatch.setenv("DFAD_API_KEY", OPERATOR)
    monkeypatch.setattr(credentials, "PAUSE_SECONDS", 0.0)
    from app.main import create_app

    with TestClient(create_app(), raise_server_exceptions=False) as made:
        yield made


def ask(client: TestClient, key: str, address: str | None = None) -> Any:
    client.headers.pop("x-forwarded-for", None)
    headers = {"Authorization": f"Bearer {key}"}
    if address is None:
        return client.get("/jobs", headers=headers)
    with TestClient(client.app, client=(address, 1)) as other:
        return other.get("/jobs", headers=headers)


def use_up(client: TestClient, key: str = OURS) -> None:
    for number in range(wrong_keys.BURST):
        assert ask(client, key).status_code == 401, number


@pytest.mark.parametrize("key", [OURS, "some-password"])
def test_wrong_keys_are_refused_after_a_burst_and_right_ones_never(client: TestClient, key: str) -> None:
    made = client.post(
        "/keys", json={"name": "k", "scopes": ["read"]}, headers={"Authorization": f"Bearer {OPERATOR}"}
    ).json()["key"]
    use_up(client, key)
    refused = ask(client, key)
    assert_problem(refused, 429, "too_many_wrong_keys")
    assert 1 <= int(refused.headers["retry-after"]) <= wrong_keys.SECONDS_EACH
    # Others may share the address.
    assert ask(client, made).status_code == 200
    assert ask(client, OPERATOR).status_code == 200
    assert client.get("/jobs").status_code == 401  # no key is no guess
    assert ask(client, key).status_code == 429
    assert ask(client, key, "192.0.2.7").status_code == 401


def test_the_sign_in_counts_them_too(client: TestClient) -> None:
    for _ in range(wrong_keys.BURST):
        assert client.post("/ui/sign-in", data={"key": "wrong"}).status_code == 401
    refused = client.post("/ui/sign-in", data={"key": "wrong"})
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert "Too many wrong keys" in refused.text
    assert ask(client, "wrong").status_code == 429
    signed_in = client.post("/ui/sign-in", data={"key": OPERATOR}, follow_redirects=False)
    assert signed_in.status_code == 303


def test_a_browser_with_an_old_key_is_still_sent_to_the_sign_in(client: TestClient) -> None:
    use_up(client)
    client.cookies.set("dfad_key", OURS)
    answer = client.get("/", headers={"Accept": "text/html"}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/sign-in")


def test_another_try_is_free_after_a_while(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    use_up(client)
    assert ask(client, OURS).status_code == 429
    later = time.monotonic() + wrong_keys.SECONDS_EACH + 1
    monkeypatch.setattr(wrong_keys.time, "monotonic", lambda: later)
    assert ask(client, OURS).status_code == 401
    assert ask(client, OURS).status_code == 429


def test_many_addresses_are_no_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrong_keys, "ADDRESSES", 100)
    counted = wrong_keys.WrongKeys()
    for number in range(1000):
        counted.add(f"10.0.{number // 250}.{number % 250}")
    assert len(counted) == 100


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::1", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("x" * 100, "x" * 64),
        (None, "unknown"),
    ],
)
def test_who_is_counted_as_one(address: str | None, source: str) -> None:
    assert source_of(address) == source


def test_one_key_is_looked_up_once_for_a_crowd(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.platform.settings import get_settings

    looked: list[str] = []

    def slow(authorization: str, settings: Any) -> Any:
        looked.append(authorization)
        time.sleep(0.1)
        return OPERATOR_PRINCIPAL, False

    monkeypatch.setattr(credentials.keys, "look_up", slow)

    async def crowd() -> list[Any]:
        ask = credentials.principal_from
        return await asyncio.gather(*(ask("192.0.2.1", "Bearer x", get_settings()) for _ in range(50)))

    assert asyncio.run(crowd()) == [OPERATOR_PRINCIPAL] * 50
    assert len(looked) == 1
