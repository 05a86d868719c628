"""The pages of webhooks without a browser: all by forms, faults at their fields, secrets shown once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

GIVEN: dict[str, Any] = {"url": "https://hooks.example.com/in", "events": ["job.*"], "description": "ours"}


@pytest.fixture
def client(database: str) -> Iterator[TestClient]:
    from app.main import create_app

    with TestClient(create_app(), raise_server_exceptions=False, follow_redirects=False) as test_client:
        yield test_client


def one(client: TestClient) -> str:
    """The page of a new webhook."""
    client.post("/ui/webhooks", data=GIVEN)
    return f"/ui/webhooks/{client.get('/webhooks').json()['data'][0]['id']}"


def test_added_once_however_often_the_page_is_loaded(client: TestClient) -> None:
    empty = client.get("/ui/webhooks").text
    assert "No webhook yet" in empty
    (key,) = re.findall(r'name="key" value="(\w+)"', empty)
    made = [client.post("/ui/webhooks", data={**GIVEN, "key": key}) for _ in range(2)]
    assert [answer.status_code for answer in made] == [201, 201]
    (secret,) = {s for answer in made for s in re.findall(r"whsec_[\w+/=]+", answer.text)}
    listed = client.get("/ui/webhooks").text
    assert listed.count("https://hooks.example.com/in") == 1
    assert secret not in listed
    assert client.get("/webhooks").json()["data"][0]["events"] == ["job.*"]


def test_faults_stand_at_their_fields(client: TestClient) -> None:
    answer = client.post("/ui/webhooks", data={"url": "http://127.0.0.1/", "description": "a\nb"})
    assert answer.status_code == 422
    faults = dict(re.findall(r'id="(\w+)-fault"[^>]*>([^<]*)<', answer.text))
    assert set(faults) == {"url", "events", "description"}
    assert "not a public one" in faults["url"]
    assert 'value="http://127.0.0.1/"' in answer.text
    assert client.get("/webhooks").json()["data"] == []
    hostile = client.post("/ui/webhooks", data={**GIVEN, "url": '"><script>alert(1)</script>'})
    assert "<script>alert" not in hostile.text


def test_the_buttons_do_what_they_say(client: TestClient) -> None:
    path = one(client)
    api = path.removeprefix("/ui")
    for action, enabled in (("disable", False), ("enable", True)):
        answer = client.post(f"{path}/{action}")
        assert (answer.status_code, answer.headers["location"]) == (303, path)
        assert client.get(api).json()["enabled"] is enabled
    assert client.post(f"{path}/test").status_code == 303
    page = client.get(path).text
    assert "webhook.test" in page
    assert "hx-get" in page
    (delivery,) = client.get(f"{api}/deliveries").json()["data"]
    assert client.post(f"{path}/deliveries/{delivery['id']}/redeliver").headers["location"] == path
    rotated = client.post(f"{path}/rotate-secret")
    assert re.search(r"whsec_[\w+/=]+", rotated.text)
    assert client.post(f"{path}/explode").status_code == 404
    for _ in range(4):
        client.post(f"{path}/test")
    refused = client.post(f"{path}/test")
    assert (refused.status_code, "not done" in refused.text) == (429, True)
    assert client.post(f"{path}/delete").headers["location"] == "/ui/webhooks"
    assert client.get(path).status_code == 404
    assert client.post(f"{path}/test", headers={"Origin": "https://evil.example"}).status_code == 403
