"""Tokens that a provider signed: access tokens of the API, and ID tokens of the page's sign-in.

A token says by itself how it is signed and with which key; it is believed in neither. Only signatures that
need the provider's private key count, and only keys that the provider publishes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import TYPE_CHECKING, Any

from app.access.keys.principal import Principal
from app.access.people.person import NotUsable, person_of, principal_of
from app.access.people.provider import Provider, provider_of
from app.http.reading import run_look_up
from app.platform.errors import ServiceError
from app.platform.settings import Settings

if TYPE_CHECKING:
    from joserfc.jwk import KeySet

ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA",
)  # fmt: skip
MAX_CHARACTERS = 16 * 2**10
MAX_HEADER_CHARACTERS = 2048
LEEWAY_SECONDS = 60
"""How far the provider's clock and ours may differ."""
WRONG = {
    "exp": "The access token has expired.",
    "nbf": "The access token is not valid yet.",
    "iss": "The access token is of another issuer.",
    "aud": "The access token is for another audience.",
}


class BadToken(Exception):
    """It is not to be believed; the text, which quotes nothing of it, says why."""


def has_form(text: str) -> bool:
    """Whether it could be a signed token."""
    return text.startswith("ey") and text.count(".") == 2 and len(text) <= MAX_CHARACTERS and text.isascii()


async def principal_of_token(token: str, source: str, settings: Settings) -> Principal:
    """Whoever the access token is of. Raises ServiceError 401, 403 `no_role`, 503."""
    assert settings.oidc_issuer is not None
    provider = provider_of(settings.oidc_issuer)
    try:
        keys = await provider.keys(_key_id(token))
        claims = await run_look_up(source, _access_claims, token, keys, settings)
        person = person_of(claims, settings.oidc_groups_claim)
    except (BadToken, NotUsable) as error:
        headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        text = str(error) if isinstance(error, BadToken) else "The access token names nobody."
        raise ServiceError(401, "unauthorized", text, headers=headers) from None
    name = hashlib.sha256(token.encode()).hexdigest()[:16]
    credential = f"token/{int(claims['exp'])}/{name}"
    return principal_of(person, settings, credential=credential, must_choose=True)


async def id_claims(
    token: str, provider: Provider, client_id: str, nonce: str, access: str
) -> dict[str, Any]:
    """What the ID token says that came with the access token `access`. Raises BadToken, ServiceError 503."""
    from authlib.oidc.core import CodeIDToken
    from joserfc.errors import JoseError

    if not has_form(token):
        raise BadToken("The provider's ID token is none.")
    header, claims = signed(token, await provider.keys(_key_id(token)))
    options = {
        "iss": {"essential": True, "value": provider.issuer},
        "aud": {"essential": True, "value": client_id},
    }
    about = {"nonce": nonce, "client_id": client_id, "access_token": access}
    try:
        CodeIDToken(claims, header, options, about).validate(leeway=LEEWAY_SECONDS)
    except (JoseError, ValueError, TypeError) as error:
        raise BadToken(f"The provider's ID token is not valid ({type(error).__name__}).") from error
    return claims


def signed(token: str, keys: KeySet) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token that one of `keys` signed. Raises BadToken."""
    from joserfc import jwt
    from joserfc.errors import JoseError
    from joserfc.jws import JWSRegistry

    registry = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
    registry.max_header_length = MAX_HEADER_CHARACTERS
    try:
        found = jwt.decode(token, keys, registry=registry)
    except (JoseError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadToken("The token's signature is not the provider's.") from error
    return dict(found.header), dict(found.claims)


def _access_claims(token: str, keys: KeySet, settings: Settings) -> dict[str, Any]:
    from joserfc.errors import ClaimError, JoseError, MissingClaimError
    from joserfc.jwt import JWTClaimsRegistry

    _, claims = signed(token, keys)
    registry = JWTClaimsRegistry(
        leeway=LEEWAY_SECONDS,
        iss={"essential": True, "value": settings.oidc_issuer or ""},
        aud={"essential": True, "value": settings.oidc_audience or ""},
        sub={"essential": True},
        exp={"essential": True},
    )
    try:
        registry.validate(claims)
    except JoseError as error:
        name = (
            error.claim if isinstance(error, ClaimError) and not isinstance(error, MissingClaimError) else ""
        )
        raise BadToken(
            WRONG.get(name, "The access token lacks what it needs: iss, aud, sub and exp.")
        ) from error
    if "at_hash" in claims or claims.get("typ") == "ID":
        raise BadToken("That is an ID token: send the access token.")
    return claims


def _key_id(token: str) -> str | None:
    """The id of the key that it names. Raises BadToken for what no published key could have signed."""
    encoded = token.partition(".")[0]
    try:
        text = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        header = json.loads(text) if len(encoded) <= MAX_HEADER_CHARACTERS else None
    except (binascii.Error, ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or header.get("alg") not in ALGORITHMS:
        raise BadToken("That is no token that the provider could have signed.")
    key_id = header.get("kid")
    if key_id is not None and not isinstance(key_id, str):
        raise BadToken("That is no token that the provider could have signed.")
    return key_id
