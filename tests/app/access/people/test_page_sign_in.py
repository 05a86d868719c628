"""Signing in on the page through a provider: there, back, and what must not get through on the way."""

from __future__ import annotations

import base64
import json
import logging
import re
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from sqlalchemy import select, update
from starlette.testclient import TestClient

from tests.app.access.people.conftest import CLIENT, Issuer, bearer

OPERATOR = bearer("the-operators")
BACK = "/ui/sign-in/callback"
BROWSER = {"Accept": "text/html"}
Json = dict[str, Any]


@pytest.fixture(autouse=True)
def browser(client: TestClient) -> None:
    client.headers.update(BROWSER)


def begin(client: TestClient, wanted: str = "/") -> dict[str, str]:
    """What the browser is sent to the provider with."""
    sent = client.get("/ui/sign-in/provider", params={"next": wanted})
    assert sent.status_code == 303
    return {name: values[0] for name, values in parse_qs(urlsplit(sent.headers["location"]).query).items()}


def come_back(
    client: TestClient, issuer: Issuer, asked: Json, answer: Json | None = None, **claims: Any
) -> Any:
    """The provider's answer, with an ID token that says `claims`, and what the page makes of it."""
    about = {"aud": CLIENT, "nonce": asked["nonce"], "groups": ["vision-writers"], **claims}
    access = issuer.token()
    issuer.answers["/token"] = {
        "access_token": access, "token_type": "bearer", "expires_in": 60, "id_token": issuer.token(**about),
    }  # fmt: skip
    query = {"code": "a-code", "state": asked["state"], **(answer or {})}
    return client.get(f"{BACK}?{urlencode({k: v for k, v in query.items() if v is not None})}")


def sign_in(client: TestClient, issuer: Issuer, wanted: str = "/", **claims: Any) -> Any:
    return come_back(client, issuer, begin(client, wanted), **claims)


def header(client: TestClient) -> str:
    """The page's header, in words."""
    text = client.get("/").text.partition("<nav")[2].partition("</nav>")[0]
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


def audit(client: TestClient, tenant: str = "*") -> list[Json]:
    found = client.get("/audit", headers=OPERATOR | {"DFAD-Tenant": tenant, "Accept": "application/json"})
    return list(found.json()["data"])


def test_there_and_back(client: TestClient, issuer: Issuer) -> None:
    form = client.get("/ui/sign-in?next=/ui/new")
    assert 'href="/ui/sign-in/provider?next=%2Fui%2Fnew"' in form.text
    assert 'name="key"' in form.text
    asked = begin(client, "/ui/new")
    assert asked["response_type"] == "code"
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == f"http://testserver{BACK}"
    assert asked["scope"] == "openid profile"
    assert "hush" not in str(asked)
    answer = come_back(client, issuer, asked)
    assert answer.status_code == 200
    assert 'content="0;url=/ui/new"' in answer.text
    cookie = next(c for c in answer.headers.get_list("set-cookie") if c.startswith("dfad_session="))
    assert {"HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"} <= set(re.split("; ", cookie))
    assert "vision · ada (writer)" in header(client)
    assert "ada-1" not in cookie
    line = audit(client, "vision")[0]
    assert (line["action"], line["status"], line["person"]) == (f"GET {BACK}", 200, "ada-1")


def test_cookies_are_secure_under_https(client: TestClient, issuer: Issuer) -> None:
    client.base_url = "https://testserver"  # type: ignore[assignment]
    sent = client.get("/ui/sign-in/provider")
    assert "Secure" in sent.headers["set-cookie"]
    asked = {k: v[0] for k, v in parse_qs(urlsplit(sent.headers["location"]).query).items()}
    assert asked["redirect_uri"].startswith("https://")
    for cookie in come_back(client, issuer, asked).headers.get_list("set-cookie"):
        assert "Secure" in cookie or "Max-Age=0" in cookie


WRONG_ANSWERS: tuple[tuple[Json, Json], ...] = (
    ({"state": "another"}, {}),
    ({"state": None}, {}),
    ({"state": ""}, {}),
    ({"error": "access_denied"}, {}),
    ({"error": "<script>alert(1)</script>"}, {}),
    ({"iss": "https://evil.example"}, {}),
    ({}, {"nonce": "another"}),
    ({}, {"nonce": None}),
    ({}, {"aud": "other-client"}),
    ({}, {"aud": ["other", CLIENT]}),
    ({}, {"iss": "https://evil.example"}),
    ({}, {"exp": 1}),
    ({}, {"exp": None}),
    ({}, {"sub": None}),
    ({}, {"sub": ["ada-1"]}),
    ({}, {"at_hash": "another"}),
    ({}, {"azp": "other-client"}),
)
"""The provider's query and what its ID token says, where they differ from what is right."""


def test_answers_that_sign_nobody_in(client: TestClient, issuer: Issuer) -> None:
    from app.access.keys.wrong_keys import wrong_keys

    for answer, claims in WRONG_ANSWERS:
        wrong_keys.clear()
        refused = come_back(client, issuer, begin(client), answer, **claims)
        assert refused.status_code == 401, (answer, claims)
        assert "alert(1)" not in refused.text
        assert "dfad_session" not in client.cookies
    assert client.get("/").status_code == 303
    assert {line["status"] for line in audit(client)} == {401}
    assert len(audit(client)) == len(WRONG_ANSWERS)


def test_tokens_of_others_sign_nobody_in(client: TestClient, issuer: Issuer, signing_keys: list[Any]) -> None:
    asked = begin(client)
    about = {"aud": CLIENT, "nonce": asked["nonce"], "groups": ["platform"]}
    part = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).decode().rstrip("=")
    unsigned = f"{part}.{issuer.token(**about).split('.')[1]}."
    for token in (issuer.token(signing_keys[2], **about), unsigned, "", "x", None):
        issuer.answers["/token"] = {"access_token": "a", "token_type": "bearer", "id_token": token}
        refused = client.get(BACK, params={"code": "c", "state": asked["state"]})
        assert refused.status_code == 401
        asked = begin(client)
        about["nonce"] = asked["nonce"]


def test_an_answer_counts_once_and_in_its_own_browser(client: TestClient, issuer: Issuer) -> None:
    asked = begin(client)
    flow = client.cookies["dfad_flow"]
    client.cookies.clear()  # as in the browser of somebody who was sent another's link
    assert come_back(client, issuer, asked).status_code == 401
    client.cookies.set("dfad_flow", flow)
    assert come_back(client, issuer, asked).status_code == 200
    client.cookies.delete("dfad_flow")
    assert come_back(client, issuer, asked).status_code == 401


def test_flows_that_nobody_began(client: TestClient) -> None:
    nested = base64.b64encode(b"[" * 5000).decode()
    names = ("state", "nonce", "verifier", "next_page")
    odd = base64.urlsafe_b64encode(json.dumps(dict.fromkeys(names, "\ud800")).encode()).decode()
    for cookie in ("", "x", "e30=", "bnVsbA==", "W10=", "W" * 9000, nested, odd):
        client.cookies.clear()
        client.cookies.set("dfad_flow", cookie)
        assert client.get(BACK, params={"code": "c", "state": ""}).status_code == 401


def test_nobody_is_led_to_another_site(client: TestClient, issuer: Issuer) -> None:
    for wanted in ("//evil.example/", "https://evil.example", "/\\evil", BACK, "/ui/sign-in/provider"):
        assert 'content="0;url=/"' in sign_in(client, issuer, wanted).text
        asked = begin(client)
        found = json.loads(base64.urlsafe_b64decode(client.cookies["dfad_flow"]))
        forged = base64.urlsafe_b64encode(json.dumps(found | {"next_page": wanted}).encode()).decode()
        client.cookies.clear()
        client.cookies.set("dfad_flow", forged)
        assert 'content="0;url=/"' in come_back(client, issuer, asked).text
        client.cookies.clear()


def test_a_session_is_new_at_every_sign_in(client: TestClient, issuer: Issuer) -> None:
    """One that somebody has set beforehand is worth nothing, and the one before it ends."""
    client.cookies.set("dfad_session", f"dfads_{'0' * 32}_{'A' * 43}", domain="testserver.local")
    sign_in(client, issuer)
    first = client.cookies["dfad_session"]
    assert first != f"dfads_{'0' * 32}_{'A' * 43}"
    sign_in(client, issuer)
    second = client.cookies["dfad_session"]
    assert second != first
    for cookie, status in ((first, 303), (second, 200)):
        client.cookies.clear()
        client.cookies.set("dfad_session", cookie)
        assert client.get("/").status_code == status
    client.cookies.clear()
    assert client.get("/jobs", headers=bearer(second)).status_code == 401  # it is no key


def test_a_session_ends(client: TestClient, issuer: Issuer) -> None:
    from app.access.keys.service import recent
    from app.models import PageSession
    from app.platform.db import database_now, read_scope, session_scope

    sign_in(client, issuer)
    with read_scope() as session:
        row = session.scalars(select(PageSession)).one()
        assert client.cookies["dfad_session"].rpartition("_")[2] not in str(vars(row))
        assert 43_100 < (row.expires_at - row.created_at).total_seconds() <= 43_200
    with session_scope() as session:
        session.execute(update(PageSession).values(expires_at=database_now(session)))
    recent.clear()
    assert client.get("/").headers["location"] == "/ui/sign-in"
    sign_in(client, issuer)
    with read_scope() as session:
        assert len(list(session.scalars(select(PageSession)))) == 1  # those that are over are gone


def test_the_sign_out(client: TestClient, issuer: Issuer) -> None:
    issuer.says = {"end_session_endpoint": f"{issuer.url}/end?a=b"}
    sign_in(client, issuer)
    cookie = client.cookies["dfad_session"]
    id_token = issuer.answers["/token"]["id_token"]
    out = client.post("/ui/sign-out")
    assert out.status_code == 200
    (address,) = re.findall(r'content="0;url=([^"]+)"', out.text)
    query = parse_qs(urlsplit(address.replace("&amp;", "&")).query)
    assert query == {
        "a": ["b"], "client_id": [CLIENT], "id_token_hint": [id_token],
        "post_logout_redirect_uri": ["http://testserver/ui/sign-in"],
    }  # fmt: skip
    assert "dfad_session" not in client.cookies
    client.cookies.set("dfad_session", cookie)
    assert client.get("/").status_code == 303  # ended here, not only forgotten


def test_what_lasts_ends_with_the_session(client: TestClient, issuer: Issuer) -> None:
    """Event streams and exports ask whether it is still open."""
    from app.access.still_open import open_credentials
    from app.models import PageSession
    from app.platform.db import read_scope

    sign_in(client, issuer)
    with read_scope() as session:
        (name,) = session.scalars(select(PageSession.id))
    assert open_credentials({name, "ses_other"}) == {name}
    client.post("/ui/sign-out")
    assert open_credentials({name}) == set()


def test_the_sign_out_needs_no_provider(client: TestClient, issuer: Issuer) -> None:
    sign_in(client, issuer)
    out = client.post("/ui/sign-out")  # it has no place for that
    assert (out.status_code, out.headers["location"]) == (303, "/ui/sign-in")
    elsewhere = client.post("/ui/sign-out", headers={"Origin": "https://evil.example"})
    assert elsewhere.status_code == 403


def test_another_sites_page_changes_nothing(client: TestClient, issuer: Issuer) -> None:
    sign_in(client, issuer, groups=["audio-admins"])
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert client.post("/keys", json={"name": "k"}, headers=headers).status_code == 403
    assert client.post("/keys", json={"name": "k"}).status_code == 201


def test_one_of_several_tenants_is_chosen(client: TestClient, issuer: Issuer) -> None:
    sign_in(client, issuer, groups=["vision-readers", "audio-admins"])
    assert "audio · ada (admin)" in header(client)
    page = client.get("/").text
    assert re.findall(r'<option value="([^"]+)"', page.partition("</nav>")[0]) == ["audio", "vision"]
    assert client.post("/ui/tenant", data={"tenant": "vision"}).status_code == 303
    assert "vision · ada (reader)" in header(client)
    assert "Your role may look, and change nothing." in client.get("/ui/new").text
    refused = client.post("/keys", json={"name": "k"})
    assert refused.status_code == 403
    client.cookies.delete("dfad_tenant")
    for other in ("local", "*"):
        assert client.post("/ui/tenant", data={"tenant": other}).status_code == 403
        client.cookies.set("dfad_tenant", other)  # and by hand
        assert "audio · ada (admin)" in header(client)
        client.cookies.delete("dfad_tenant")


def test_who_reads_in_the_first_tenant_chooses_another(client: TestClient, issuer: Issuer) -> None:
    sign_in(client, issuer, groups=["audio-readers", "vision-writers"])
    assert "audio · ada (reader)" in header(client)
    assert client.post("/ui/tenant", data={"tenant": "vision"}).status_code == 303
    assert "vision · ada (writer)" in header(client)


def test_an_operator_chooses_among_all(client: TestClient, issuer: Issuer) -> None:
    sign_in(client, issuer, groups=["platform"])
    assert "local · ada" in header(client)
    assert client.post("/ui/tenant", data={"tenant": "*"}).status_code == 303
    assert "all tenants · ada" in header(client)


def test_who_has_no_role_is_told_what_to_ask_for(client: TestClient, issuer: Issuer) -> None:
    refused = sign_in(client, issuer, groups=["elsewhere"])
    assert refused.status_code == 403
    assert "Your groups are: elsewhere" in refused.text
    assert 'href="/ui/sign-in/provider?anew=1"' in refused.text
    assert "dfad_session" not in client.cookies
    line = audit(client)[0]
    assert (line["status"], line["person"], line["tenant_id"], line["operator"]) == (
        403,
        "ada-1",
        None,
        False,
    )
    again = client.get("/ui/sign-in/provider?anew=1").headers["location"]
    assert parse_qs(urlsplit(again).query)["prompt"] == ["login"]


def test_roles_that_are_taken_away_in_the_settings(
    client: TestClient, issuer: Issuer, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.access.keys.service import recent
    from app.main import create_app

    sign_in(client, issuer)
    settings(roles=json.dumps([{"group": "other", "tenant": "vision", "role": "reader"}]))
    recent.clear()
    with TestClient(create_app(), cookies={"dfad_session": client.cookies["dfad_session"]}) as later:
        assert later.get("/jobs").json()["code"] == "no_role"


def test_a_session_is_of_the_provider_that_it_began_with(
    client: TestClient, issuer: Issuer, settings: Any
) -> None:
    from app.access.keys.service import recent
    from app.main import create_app

    sign_in(client, issuer)
    settings(issuer=f"{issuer.url}/another")
    recent.clear()
    with TestClient(create_app(), cookies={"dfad_session": client.cookies["dfad_session"]}) as later:
        assert later.get("/jobs").status_code == 401


def test_groups_that_only_the_userinfo_has(client: TestClient, issuer: Issuer) -> None:
    issuer.says = {"userinfo_endpoint": f"{issuer.url}/userinfo"}
    issuer.answers["/userinfo"] = {"sub": "ada-1", "groups": ["audio-admins"]}
    assert sign_in(client, issuer, groups=None).status_code == 200
    assert "audio · ada (admin)" in header(client)
    issuer.answers["/userinfo"] = {"sub": "another", "groups": ["platform"]}
    assert sign_in(client, issuer, groups=None).status_code == 403


def test_a_key_and_a_person_do_not_mix(client: TestClient, issuer: Issuer) -> None:
    client.post("/ui/sign-in", data={"key": "the-operators"})
    client.post("/ui/tenant", data={"tenant": "*"})
    sign_in(client, issuer)
    assert set(client.cookies) == {"dfad_session"}
    client.post("/ui/sign-in", data={"key": "the-operators"})
    assert set(client.cookies) == {"dfad_key"}


def test_failed_sign_ins_count_like_wrong_keys(
    client: TestClient, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.access import credentials
    from app.access.keys.wrong_keys import BURST

    monkeypatch.setattr(credentials, "PAUSE_SECONDS", 0.0)
    answers = [client.get(BACK, params={"code": "c", "state": "s"}).status_code for _ in range(BURST + 1)]
    assert answers == [401] * BURST + [429]
    assert issuer.asked == []  # nobody makes us ask the provider with an answer that is not one
    assert sign_in(client, issuer).status_code == 200  # the right one opens at any time


@pytest.mark.parametrize("error", ["invalid_client", "invalid_scope"])
def test_faults_of_ours_are_in_the_log(client: TestClient, issuer: Issuer, error: str, caplog: Any) -> None:
    refused = come_back(client, issuer, begin(client), {"error": error})
    assert refused.status_code == 503
    assert error in caplog.text


def test_a_token_endpoint_that_is_away(client: TestClient, issuer: Issuer) -> None:
    asked = begin(client)
    issuer.close()
    answer = client.get(BACK, params={"code": "c", "state": asked["state"]})
    assert answer.status_code == 503
    assert "Keys open the service as ever" in answer.text


def test_nothing_of_it_gets_into_the_log(client: TestClient, issuer: Issuer, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    asked = begin(client)
    come_back(client, issuer, asked, {"code": "the-code"})
    client.get("/")
    secrets = ["the-code", "hush", asked["state"], asked["nonce"], client.cookies["dfad_session"]]
    secrets += list(map(str, issuer.answers["/token"].values()))[:1]
    lines = [record.getMessage() for record in caplog.records]
    ours = "\n".join(line for line in lines if "http://testserver" not in line)  # which the browser writes
    assert [secret for secret in secrets if secret in ours] == []


def test_without_a_client_the_page_takes_keys_alone(settings: Any, issuer: Issuer, home: Any) -> None:
    settings(client_id="", client_secret="")
    from app.main import create_app

    with TestClient(create_app(), headers=BROWSER, follow_redirects=False) as client:
        assert "/ui/sign-in/provider" not in client.get("/ui/sign-in").text
        for path in ("/ui/sign-in/provider", BACK):
            assert client.get(path).status_code == 404
