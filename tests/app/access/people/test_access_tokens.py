"""Access tokens over the API: whom they let in as whom, and what no token gets past."""

from __future__ import annotations

import base64
import hmac
import json
import logging
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from starlette.testclient import TestClient

from tests.app.access.people.conftest import CLIENT, Issuer, bearer

OPERATOR = bearer("the-operators")
JOB = {"student": {"architecture": "mlp8"}}


def ask(client: TestClient, token: str, path: str = "/jobs", method: str = "GET", **headers: str) -> Any:
    return client.request(method, path, headers=bearer(token, **headers))


def raw(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    """A token that nobody signed."""
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


@pytest.mark.parametrize(
    ("groups", "read", "write", "keys", "metrics"),
    [
        (["vision-readers", "others"], 200, 403, 403, 403),
        (["vision-writers", "vision-readers"], 200, 404, 403, 403),
        (["audio-admins"], 200, 404, 200, 403),
        (["platform", "vision-readers"], 200, 404, 200, 200),
    ],
)
def test_roles(
    client: TestClient, issuer: Issuer, groups: list[str], read: int, write: int, keys: int, metrics: int
) -> None:
    token = issuer.token(groups=groups)
    assert ask(client, token).status_code == read
    assert ask(client, token, f"/jobs/job_{'0' * 32}/cancel", "POST").status_code == write
    assert ask(client, token, "/keys").status_code == keys
    assert ask(client, token, "/metrics").status_code == metrics
    refused = ask(client, token, "/quotas/vision")
    assert refused.status_code in (200, 403)
    if metrics == 403:
        assert "role operator" in ask(client, token, "/metrics").json()["detail"]
    assert issuer.asked == ["/.well-known/openid-configuration", "/jwks"]


def test_one_of_several_tenants_is_named(client: TestClient, issuer: Issuer) -> None:
    token = issuer.token(groups=["vision-readers", "audio-admins"])
    refused = ask(client, token)
    assert (refused.status_code, refused.json()["code"]) == (400, "tenant_required")
    assert "audio, vision" in refused.json()["detail"]
    for tenant, keys in (("vision", 403), ("audio", 200)):
        assert ask(client, token, "/keys", **{"DFAD-Tenant": tenant}).status_code == keys
    for other in ("local", "*", "nobodys", "", "vision, audio"):
        refused = ask(client, token, **{"DFAD-Tenant": other})
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    alone = issuer.token(groups=["audio-admins"])
    assert ask(client, alone, **{"DFAD-Tenant": "audio"}).status_code == 200
    assert ask(client, alone, **{"DFAD-Tenant": "vision"}).status_code == 403


def test_an_operator_acts_for_every_tenant(client: TestClient, issuer: Issuer) -> None:
    token = issuer.token(groups=["platform"])
    made = client.post(
        "/keys", json={"name": "k", "scopes": ["metrics"]}, headers=bearer(token, **{"DFAD-Tenant": "vision"})
    )
    assert (made.status_code, made.json()["tenant_id"]) == (201, "vision")
    assert ask(client, token, **{"DFAD-Tenant": "*"}).status_code == 200


def test_who_has_no_group_is_told_what_to_ask_for(client: TestClient, issuer: Issuer) -> None:
    for groups in (None, [], ["others"], "others", {"vision-writers": 1}, [["vision-writers"]]):
        refused = ask(client, issuer.token(groups=groups))
        assert (refused.status_code, refused.json()["code"]) == (403, "no_role")
        assert "ada" in refused.json()["detail"]
        assert "DFAD_OIDC_ROLES" in refused.json()["detail"]
    assert "Your groups are: others." in ask(client, issuer.token(groups=["others"])).json()["detail"]


def test_the_audit_names_the_person(client: TestClient, issuer: Issuer) -> None:
    token = issuer.token(groups=["audio-admins"])
    made = client.post("/keys", json={"name": "ci"}, headers=bearer(token)).json()
    (line,) = ask(client, token, "/audit").json()["data"]
    assert (line["person"], line["key_id"], line["operator"], line["tenant_id"], line["subject_id"]) == (
        "ada-1", None, False, "audio", made["id"],
    )  # fmt: skip
    assert '"person":"ada-1"' in ask(client, token, "/audit/export").text


def test_rates_are_the_tenants(client: TestClient, issuer: Issuer) -> None:
    client.put("/quotas/vision", json={"requests_per_minute": 2}, headers=OPERATOR)
    tokens = [issuer.token(groups=["vision-readers"], sub=f"person-{number}") for number in range(3)]
    assert [ask(client, token).status_code for token in tokens] == [200, 200, 429]


def hostile(issuer: Issuer, keys: list[Any]) -> dict[str, str]:
    """Tokens that must open nothing, by what is wrong with them; all but for that are Ada's."""
    now, good = int(time.time()), {"groups": ["platform"]}
    claims = {"iss": issuer.url, "aud": "https://distillation.example", "sub": "a", "exp": now + 300, **good}
    critical = {"alg": "RS256", "kid": "first", "crit": ["x"], "x": 1}
    text = raw(critical, claims).rpartition(".")[0].encode()
    critical_mark = issuer.keys[0].private_key.sign(text, PKCS1v15(), SHA256())
    by_secret = {"alg": "HS256", "kid": "first"}
    text = raw(by_secret, claims).rpartition(".")[0].encode()
    mac = hmac.digest(issuer.keys[0].as_pem(private=False), text, "sha256")
    signed = issuer.token(**good)
    head, body, mark = signed.split(".")
    other = issuer.token(groups=["platform"], sub="other").split(".")[1]
    embedded = {"jwk": keys[2].as_dict(private=False), "jku": "http://127.0.0.1:9/jwks"}
    return {
        "no algorithm": raw({"alg": "none"}, claims),
        "no algorithm, of a known key": raw({"alg": "none", "kid": "first"}, claims, b"x"),
        "the public key as a secret": raw(by_secret, claims, mac),
        "another's key": issuer.token(keys[2], {"kid": "first", "alg": "ES256"}, **good),
        "another's key, in the token": issuer.token(keys[2], {"kid": "first", **embedded}, **good),
        "a key of nobody": issuer.token(keys[2], **good),
        "a body that was changed": f"{head}.{other}.{mark}",
        "no signature": f"{head}.{body}.",
        "what is critical and unknown": raw(critical, claims, critical_mark),
        "another issuer": issuer.token(iss="https://evil.example", **good),
        "no issuer": issuer.token(iss=None, **good),
        "another audience": issuer.token(aud="https://other.example", **good),
        "the page, an ID token": issuer.token(aud=CLIENT, nonce="n", **good),
        "an ID token for both": issuer.token(
            aud=[CLIENT, "https://distillation.example"], at_hash="x", **good
        ),
        "no audience": issuer.token(aud=None, **good),
        "expired": issuer.token(exp=now - 120, **good),
        "no end": issuer.token(exp=None, **good),
        "an end in words": issuer.token(exp="tomorrow", **good),
        "not yet valid": issuer.token(nbf=now + 600, **good),
        "nobody": issuer.token(sub=None, **good),
        "a name without end": issuer.token(sub="x" * 256, **good),
        "a name that no line of a log holds": issuer.token(sub="a\nb", **good),
        "too large": issuer.token(more="x" * 20_000, **good),
        "a header without end": f"ey{'J' * 3000}.{body}.{mark}",
        "a header in a header": f"{base64.urlsafe_b64encode(b'[' * 1200).decode()}.{body}.{mark}",
        "a header that is none": f"eyJh.{body}.{mark}",
        "a kid that is none": raw({"alg": "RS256", "kid": {"a": 1}}, claims, b"x"),
    }


def test_tokens_that_open_nothing(
    client: TestClient, issuer: Issuer, signing_keys: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.access.keys.wrong_keys import wrong_keys

    for wrong, token in hostile(issuer, signing_keys).items():
        wrong_keys.clear()
        answer = ask(client, token)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), wrong
        assert answer.headers["www-authenticate"].startswith("Bearer"), wrong
        assert token not in answer.text
    assert ask(client, issuer.token(groups=["platform"])).status_code == 200
    reason = ask(client, issuer.token(exp=int(time.time()) - 120, groups=["platform"])).json()["detail"]
    assert reason == "The access token has expired."


def test_clocks_may_differ_by_a_minute(client: TestClient, issuer: Issuer) -> None:
    now = int(time.time())
    assert ask(client, issuer.token(exp=now - 30, nbf=now + 30, groups=["platform"])).status_code == 200


def test_wrong_tokens_count_like_wrong_keys(
    client: TestClient, issuer: Issuer, signing_keys: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.access import credentials
    from app.access.keys.wrong_keys import BURST

    monkeypatch.setattr(credentials, "PAUSE_SECONDS", 0.0)
    bad = [issuer.token(signing_keys[2], sub=f"s{number}") for number in range(BURST + 1)]
    answers = [ask(client, token) for token in bad]
    assert [answer.status_code for answer in answers] == [401] * BURST + [429]
    assert answers[-1].json()["code"] == "too_many_wrong_keys"
    assert (
        ask(client, issuer.token(groups=["platform"])).status_code == 200
    )  # the right one opens at any time
    no_role = ask(client, issuer.token(groups=[]))
    assert (no_role.status_code, no_role.json()["code"]) == (403, "no_role")


def test_a_flood_of_unknown_keys_asks_the_provider_once(
    client: TestClient, issuer: Issuer, signing_keys: list[Any]
) -> None:
    assert ask(client, issuer.token(groups=["platform"])).status_code == 200
    for number in range(15):
        ask(client, issuer.token(signing_keys[2], {"kid": f"unknown-{number}", "alg": "ES256"}))
    assert issuer.count("/jwks") == 1


def test_keys_that_change(
    client: TestClient, issuer: Issuer, signing_keys: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.access.people import provider

    first, second = signing_keys[:2]
    assert ask(client, issuer.token(groups=["platform"])).status_code == 200
    issuer.keys = [second]
    assert ask(client, issuer.token(second, groups=["platform"])).status_code == 401  # it looked a moment ago
    monkeypatch.setattr(provider, "AGAIN_SECONDS", 0.0)
    assert ask(client, issuer.token(second, groups=["platform"])).status_code == 200
    assert ask(client, issuer.token(first, groups=["platform"], sub="b")).status_code == 401
    assert issuer.count("/.well-known/openid-configuration") == 1


def test_keys_are_looked_for_anew_beside_the_requests(
    client: TestClient, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.access.people import provider

    assert ask(client, issuer.token(groups=["platform"])).status_code == 200
    monkeypatch.setattr(provider, "AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(provider, "FRESH_SECONDS", 0.0)
    issuer.seconds = 4.0
    begun = time.monotonic()
    assert ask(client, issuer.token(groups=["platform"], sub="b")).status_code == 200
    assert time.monotonic() - begun < issuer.seconds
    issuer.close()  # and what is known is used where there is nothing new
    assert ask(client, issuer.token(groups=["platform"], sub="c")).status_code == 200


@pytest.mark.parametrize("how", ["away", "slow", "other name", "no JSON", "no keys", "elsewhere"])
def test_a_provider_that_cannot_be_used(
    client: TestClient, issuer: Issuer, how: str, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    from app.access.people import provider

    monkeypatch.setattr(provider, "FETCH_SECONDS", 0.3)
    token = issuer.token(groups=["platform"])
    if how == "away":
        issuer.close()
    elif how == "slow":
        issuer.seconds = 2.0
    elif how == "other name":
        issuer.says = {"issuer": "https://evil.example"}
    elif how == "no JSON":
        issuer.answers["/jwks"] = {"keys": "x" * 2**20}
    elif how == "no keys":
        issuer.keys = []
    else:
        issuer.says = {"jwks_uri": "file:///etc/passwd"}
    for _ in range(2):  # the second time it is not even asked
        answer = ask(client, token)
        assert (answer.status_code, answer.json()["code"]) == (503, "sign_in_unavailable")
        assert answer.headers["retry-after"] == "10"
        assert client.get("/jobs", headers=OPERATOR).status_code == 200  # keys need no provider
    assert client.get("/healthz").status_code == 200
    assert len(issuer.asked) <= 2
    assert "the sign-in provider" in caplog.text
    assert token not in caplog.text
    form = client.get("/ui/sign-in/provider", headers={"Accept": "text/html"})
    if how not in ("no JSON", "no keys"):  # which need what they say of themselves alone
        assert form.status_code == 503
        assert "Keys open the service as ever" in form.text


def test_a_stream_ends_with_its_token(client: TestClient, issuer: Issuer) -> None:
    from app.access.still_open import open_credentials

    now = int(time.time())
    names = {f"token/{now + 60}/a", f"token/{now - 1}/b", "ses_1", "operator", ""}
    assert open_credentials(names) == {f"token/{now + 60}/a", "operator"}


def test_no_token_gets_into_the_log(client: TestClient, issuer: Issuer, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    for token in (issuer.token(groups=["platform"]), issuer.token(aud="other")):
        ask(client, token)
        assert token not in caplog.text
        assert token.rpartition(".")[2] not in caplog.text


def test_groups_in_an_object(settings: Any, issuer: Issuer, home: Any) -> None:
    settings(groups_claim="realm_access.roles")
    from app.main import create_app

    with TestClient(create_app()) as client:
        token = issuer.token(realm_access={"roles": ["vision-readers"]})
        assert ask(client, token).status_code == 200
        assert ask(client, issuer.token(groups=["platform"])).status_code == 403


def test_a_server_with_a_provider_is_open_to_nobody(settings: Any, issuer: Issuer, home: Any) -> None:
    """Without any key, too, and whoever may manage keys there needs no operator's to revoke the last one."""
    from app.__main__ import refusal
    from app.main import create_app
    from app.platform.settings import Settings, get_settings

    settings()
    assert refusal(get_settings()) is None
    assert refusal(Settings(host="0.0.0.0")) is None
    with TestClient(create_app()) as client:
        assert client.get("/jobs").status_code == 401
        token = issuer.token(groups=["audio-admins"])
        made = client.post("/keys", json={"name": "k", "scopes": ["admin"]}, headers=bearer(token))
        assert made.status_code == 201
        assert ask(client, token, f"/keys/{made.json()['id']}", "DELETE").status_code == 204


def test_without_an_audience_no_token_opens_anything(
    settings: Any, issuer: Issuer, home: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings(audience="")
    from app.main import create_app

    with TestClient(create_app()) as client:
        assert ask(client, issuer.token(groups=["platform"])).status_code == 401
        assert issuer.asked == []
