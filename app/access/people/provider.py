"""What the sign-in provider says of itself: its addresses, and the keys that it signs with.

Both are fetched when they are first needed, within a time limit, and kept. Nobody waits for what is there
already, and whatever is asked, the provider is asked no more often than every AGAIN_SECONDS.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urlsplit

import anyio

from app.platform.errors import ServiceError

if TYPE_CHECKING:
    import httpx2
    from joserfc.jwk import KeySet

logger = logging.getLogger(__name__)

FETCH_SECONDS = 5.0
"""Of one look, from the connection to the last byte."""
MAX_BYTES = 512 * 2**10
MAX_KEYS = 100
FRESH_SECONDS = 600.0
"""After which what is kept is fetched anew, beside the requests that still use it."""
KEPT_SECONDS = 4 * 3600.0
"""For how long it is used where the provider cannot be reached."""
AGAIN_SECONDS = 10.0
"""Between two looks, also where a token names a key that nobody knows."""
WELL_KNOWN = "/.well-known/openid-configuration"
_What = TypeVar("_What")


class ProviderFault(Exception):
    """The provider does not answer, or says what cannot be used; the text is for the log."""


def unavailable() -> ServiceError:
    """The answer while nothing can be had of the provider."""
    text = (
        "The sign-in provider does not answer, or cannot be used; the server's log says why. Try again in a "
        "moment. Keys open the service as ever."
    )
    headers = {"Retry-After": str(int(AGAIN_SECONDS))}
    return ServiceError(503, "sign_in_unavailable", text, headers=headers)


class Kept(Generic[_What]):
    """One thing that is fetched of the provider."""

    def __init__(self, fetch: Callable[[], Awaitable[_What]]) -> None:
        self._fetch = fetch
        self._value: _What | None = None
        self._fetched_at = self._tried_at = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def get(self, *, newer: bool = False) -> _What:
        """What is kept, or fetched now. `newer`: fetched again first, if that was not tried just now.

        Raises ServiceError 503.
        """
        age = time.monotonic() - self._fetched_at
        if newer or age >= KEPT_SECONDS:
            task = self._start()
            if task is not None:
                await asyncio.shield(task)  # whoever goes away leaves it to the others
        elif age >= FRESH_SECONDS:
            self._start()
        if self._value is None or time.monotonic() - self._fetched_at >= KEPT_SECONDS:
            raise unavailable()
        return self._value

    def _start(self) -> asyncio.Task[None] | None:
        """The look that is under way, or begins now; None where the last one was a moment ago."""
        task, now = self._fetching, time.monotonic()
        if task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop():
            return task
        if now - self._tried_at < AGAIN_SECONDS:
            return None
        self._tried_at = now
        self._fetching = asyncio.create_task(self._look())
        return self._fetching

    async def _look(self) -> None:
        try:
            with anyio.fail_after(FETCH_SECONDS):
                self._value = await self._fetch()
            self._fetched_at = time.monotonic()
        except (ProviderFault, TimeoutError, ServiceError) as error:
            logger.error("the sign-in provider: %s", str(error) or type(error).__name__)
        except Exception:
            # A look that fails must not answer requests with an error of ours.
            logger.exception("a look at the sign-in provider failed")


@dataclass(frozen=True)
class Addresses:
    """Where a provider is asked what."""

    jwks: str
    authorization: str | None
    token: str | None
    userinfo: str | None
    end_session: str | None
    client_auth: tuple[str, ...]
    """Ways in which its token endpoint knows a client; empty where it does not say."""
    names_itself: bool
    """Whether it says who it is when it sends somebody back (RFC 9207)."""


class Provider:
    """One issuer."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self._addresses = Kept(self._fetch_addresses)
        self._keys = Kept(self._fetch_keys)

    @property
    def host(self) -> str:
        """What people know it by."""
        return urlsplit(self.issuer).netloc

    async def addresses(self) -> Addresses:
        """Raises ServiceError 503."""
        return await self._addresses.get()

    async def keys(self, key_id: str | None) -> KeySet:
        """Its keys, fetched again for the id of one that is not among them. Raises ServiceError 503."""
        keys = await self._keys.get()
        if key_id is not None and all(key.kid != key_id for key in keys):
            keys = await self._keys.get(newer=True)
        return keys

    async def _fetch_addresses(self) -> Addresses:
        found = await _json(self.issuer.rstrip("/") + WELL_KNOWN)
        if found.get("issuer") != self.issuer:
            raise ProviderFault(
                f"it calls itself {str(found.get('issuer'))[:200]!r}, and DFAD_OIDC_ISSUER is {self.issuer!r}"
            )
        jwks = self._address(found, "jwks_uri")
        if jwks is None:
            raise ProviderFault("it says of no jwks_uri")
        methods = found.get("token_endpoint_auth_methods_supported")
        return Addresses(
            jwks=jwks,
            authorization=self._address(found, "authorization_endpoint"),
            token=self._address(found, "token_endpoint"),
            userinfo=self._address(found, "userinfo_endpoint"),
            end_session=self._address(found, "end_session_endpoint"),
            client_auth=tuple(map(str, methods)) if isinstance(methods, list) else (),
            names_itself=found.get("authorization_response_iss_parameter_supported") is True,
        )

    def _address(self, found: Mapping[str, Any], name: str) -> str | None:
        """An address; encrypted, unless the issuer itself is on this machine and is not."""
        address = found.get(name)
        if address is None:
            return None
        if not isinstance(address, str) or urlsplit(address).scheme not in (
            "https",
            urlsplit(self.issuer).scheme,
        ):
            raise ProviderFault(f"its {name} is no address that may be used")
        return address

    async def _fetch_keys(self) -> KeySet:
        return _key_set(await _json((await self.addresses()).jwks))


@cache
def trust() -> ssl.SSLContext:
    """Certificates that are trusted, SSL_CERT_FILE among them; read once, as that takes a while."""
    import httpx2

    return httpx2.create_ssl_context()


async def _json(address: str) -> dict[str, Any]:
    """The object at an address. Raises ProviderFault."""
    import httpx2

    try:
        async with (
            httpx2.AsyncClient(timeout=FETCH_SECONDS, verify=trust()) as client,
            client.stream("GET", address, headers={"Accept": "application/json"}) as answer,
        ):
            return await _object(address, answer)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise ProviderFault(f"{address} is not to be had ({type(error).__name__})") from error


async def _object(address: str, answer: httpx2.Response) -> dict[str, Any]:
    if answer.status_code != 200:
        raise ProviderFault(f"{address} answers with {answer.status_code}")
    body = b""
    async for piece in answer.aiter_bytes():
        body += piece
        if len(body) > MAX_BYTES:
            raise ProviderFault(f"{address} answers with more than {MAX_BYTES} bytes")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ProviderFault(f"{address} answers with no JSON object")
    return found


def _key_set(found: Mapping[str, Any]) -> KeySet:
    """The public keys among them; those that cannot be used are left out. Raises ProviderFault for none."""
    from joserfc.errors import JoseError
    from joserfc.jwk import JWKRegistry, KeySet

    entries, keys = found.get("keys"), []
    for entry in entries[:MAX_KEYS] if isinstance(entries, list) else ():
        if not isinstance(entry, dict) or entry.get("kty") == "oct" or entry.get("use") == "enc":
            continue
        try:
            keys.append(JWKRegistry.import_key(entry))
        except (JoseError, ValueError, TypeError, KeyError):
            logger.warning("a key of the sign-in provider cannot be read and is left out")
    if not keys:
        raise ProviderFault("none of its keys can be used")
    return KeySet(keys)


def load() -> None:
    """Import what speaks with a provider, which takes a while: as the server starts, if it has one."""
    import joserfc.jwt  # noqa: F401

    trust()


@cache
def provider_of(issuer: str) -> Provider:
    """The process's knowledge of it."""
    return Provider(issuer)
