"""The way through the provider and back: the authorization code flow with PKCE, a state and a nonce."""

from __future__ import annotations

import base64
import hmac
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlencode

import anyio

from app.access.keys.tokens import new_secret
from app.access.people.person import NotUsable, Person, groups_of, person_of
from app.access.people.provider import Addresses, Provider, provider_of, trust, unavailable
from app.access.people.tokens import BadToken, id_claims
from app.platform.errors import ServiceError
from app.platform.settings import Settings

logger = logging.getLogger(__name__)

EXCHANGE_SECONDS = 10.0
"""For the code's exchange and the question for groups together."""
MAX_FLOW_CHARACTERS = 8192
MAX_HINT_CHARACTERS = 4096
"""Of an ID token in an address, when somebody signs out."""
OUR_FAULTS = ("invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope")
"""Refusals of the provider that no person can do anything about."""
TRY_AGAIN = "The sign-in was not completed: it took too long, or was begun in another window. Try again."


@dataclass(frozen=True)
class Flow:
    """What a browser keeps while somebody is at the provider."""

    state: str
    nonce: str
    verifier: str
    next_page: str

    def began(self, state: str) -> bool:
        """Whether an answer with that state is one to this flow."""
        return hmac.compare_digest(state.encode(errors="replace"), self.state.encode(errors="replace"))

    def cookie(self) -> str:
        """In the form that a cookie can have."""
        return base64.urlsafe_b64encode(json.dumps(asdict(self)).encode()).decode()

    @classmethod
    def read(cls, cookie: str) -> Flow | None:
        """None for what is none."""
        try:
            found = json.loads(base64.urlsafe_b64decode(cookie)) if len(cookie) <= MAX_FLOW_CHARACTERS else {}
            names = ("state", "nonce", "verifier", "next_page")
            values = [found[name] for name in names]
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        return cls(*values) if all(isinstance(value, str) and value for value in values) else None


def failed(detail: str = TRY_AGAIN) -> ServiceError:
    """The answer to a sign-in that came to nothing."""
    return ServiceError(401, "sign_in_failed", detail)


def _provider(settings: Settings) -> tuple[Provider, str]:
    """The provider, and who the page is there. Raises ServiceError 404 where there is none."""
    if settings.oidc_issuer is None or settings.oidc_client_id is None:
        raise ServiceError(404, "not_found", "There is no sign-in provider here.")
    return provider_of(settings.oidc_issuer), settings.oidc_client_id


async def begin(settings: Settings, redirect_uri: str, next_page: str, *, anew: bool) -> tuple[str, Flow]:
    """Where the browser goes, and what it keeps meanwhile. `anew`: the provider shall ask who they are.

    Raises ServiceError 503.
    """
    from authlib.oauth2.client import OAuth2Client

    provider, client_id = _provider(settings)
    addresses = await provider.addresses()
    if addresses.authorization is None or addresses.token is None:
        logger.error("the sign-in provider has no address for signing in")
        raise unavailable()
    flow = Flow(new_secret(), new_secret(), new_secret(), next_page)
    client = OAuth2Client(
        None,
        client_id=client_id,
        scope=settings.oidc_scopes,
        redirect_uri=redirect_uri,
        code_challenge_method="S256",
    )
    more = {"prompt": "login"} if anew else {}
    url, _ = client.create_authorization_url(
        addresses.authorization, state=flow.state, code_verifier=flow.verifier, nonce=flow.nonce, **more
    )
    return str(url), flow


async def finish(
    settings: Settings, redirect_uri: str, answer: Mapping[str, str], flow: Flow | None
) -> tuple[Person, str]:
    """Who signed in, and the ID token that says so. `answer`: the query with which they were sent back.

    Raises ServiceError 401 `sign_in_failed`, and 503.
    """
    provider, client_id = _provider(settings)
    if flow is None or not flow.began(answer.get("state", "")):
        raise failed()
    addresses = await provider.addresses()
    named = answer.get("iss")
    if named != provider.issuer and (named is not None or addresses.names_itself):
        raise failed("The answer came from another provider.")
    if "error" in answer:
        raise _refusal(answer["error"])
    if not answer.get("code"):
        raise failed()
    try:
        with anyio.fail_after(EXCHANGE_SECONDS):
            token = await _exchange(settings, addresses, redirect_uri, answer.get("code", ""), flow)
            id_token, access = str(token.get("id_token", "")), str(token.get("access_token", ""))
            claims = await id_claims(id_token, provider, client_id, flow.nonce, access)
            claims = await _with_groups(settings, addresses, token, claims)
    except TimeoutError:
        logger.error("the sign-in provider took longer than %g s", EXCHANGE_SECONDS)
        raise unavailable() from None
    except BadToken as error:
        logger.error("a sign-in is refused: %s", error)
        raise failed(str(error)) from None
    try:
        return person_of(claims, settings.oidc_groups_claim), id_token
    except NotUsable as error:
        raise failed(f"The provider names nobody: {error}.") from None


def _refusal(error: str) -> ServiceError:
    """The answer to a refusal of the provider, which may be anything that somebody wrote into an address."""
    known = error if error.isascii() and error.replace("_", "").isalnum() and len(error) <= 60 else "an error"
    if known in OUR_FAULTS:
        logger.error("the sign-in provider refuses this service: %s", known)
        return unavailable()
    return failed(f"The sign-in provider refused it ({known}). Try again.")


def _client(settings: Settings, addresses: Addresses, redirect_uri: str) -> Any:
    """What exchanges a code at the token endpoint."""
    from authlib.integrations.httpx_client import AsyncOAuth2Client

    secret = settings.oidc_client_secret
    method = None  # as Authlib chooses: HTTP Basic with a secret, none without
    if secret is not None and addresses.client_auth and "client_secret_basic" not in addresses.client_auth:
        method = "client_secret_post"
    return AsyncOAuth2Client(
        client_id=settings.oidc_client_id,
        client_secret=None if secret is None else secret.get_secret_value(),
        scope=settings.oidc_scopes,
        redirect_uri=redirect_uri,
        token_endpoint_auth_method=method,
        timeout=EXCHANGE_SECONDS,
        verify=trust(),
    )


async def _exchange(
    settings: Settings, addresses: Addresses, redirect_uri: str, code: str, flow: Flow
) -> Mapping[str, Any]:
    """What the provider gives for the code. Raises ServiceError."""
    import httpx2
    from authlib.integrations.base_client import OAuthError

    try:
        async with _client(settings, addresses, redirect_uri) as client:
            token = await client.fetch_token(addresses.token, code=code, code_verifier=flow.verifier)
    except OAuthError as error:
        raise _refusal(str(error.error)) from None
    except (httpx2.HTTPError, ValueError) as error:
        logger.error("the sign-in provider exchanges no code (%s)", type(error).__name__)
        raise unavailable() from error
    return dict(token)


async def _with_groups(
    settings: Settings, addresses: Addresses, token: Mapping[str, Any], claims: dict[str, Any]
) -> dict[str, Any]:
    """`claims`, with what the provider tells of the same person where they lack groups."""
    import httpx2

    if groups_of(claims, settings.oidc_groups_claim) or addresses.userinfo is None:
        return claims
    headers = {"Authorization": f"Bearer {token.get('access_token', '')}"}
    try:
        async with httpx2.AsyncClient(timeout=EXCHANGE_SECONDS, verify=trust()) as client:
            answer = await client.get(addresses.userinfo, headers=headers)
            told = answer.json() if answer.status_code == 200 else {}
    except (httpx2.HTTPError, ValueError) as error:
        logger.error("the sign-in provider says nothing of a person (%s)", type(error).__name__)
        return claims
    # Another's answer is no answer (OpenID Connect Core, 5.3.2).
    return {**told, **claims} if isinstance(told, dict) and told.get("sub") == claims["sub"] else claims


async def end_session_address(settings: Settings, id_token: str | None, back: str) -> str | None:
    """Where the provider ends its session and sends the browser to `back`; None where it ends none."""
    try:
        provider, client_id = _provider(settings)
        address = (await provider.addresses()).end_session
    except ServiceError:
        return None  # signed out here all the same
    if address is None:
        return None
    query = {"client_id": client_id, "post_logout_redirect_uri": back}
    if id_token is not None and len(id_token) <= MAX_HINT_CHARACTERS:
        query["id_token_hint"] = id_token
    return f"{address}{'&' if '?' in address else '?'}{urlencode(query)}"
