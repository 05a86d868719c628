"""Secrets of webhooks. They sign, so that the service must be able to read them again.

With DFAD_WEBHOOK_KEY, the same for servers and workers, they are kept sealed, and a copy of the database
signs nothing. Without it they are kept as they are. What was stored without a key stays readable with one.
"""

from __future__ import annotations

import base64
import hashlib
import secrets

from cryptography.fernet import Fernet, InvalidToken

from app.platform.settings import get_settings

PREFIX = "whsec_"
_PLAIN, _SEALED = "plain:", "sealed:"


class SecretUnreadable(Exception):
    """It was sealed with a key that this process does not have."""


def new_secret() -> str:
    """256 random bits, as Standard Webhooks writes them."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def seal(secret: str) -> str:
    """What is stored."""
    box = _box()
    return _PLAIN + secret if box is None else _SEALED + box.encrypt(secret.encode()).decode()


def unseal(stored: str) -> str:
    """The secret. Raises SecretUnreadable."""
    if stored.startswith(_PLAIN):
        return stored.removeprefix(_PLAIN)
    box = _box()
    if box is None:
        raise SecretUnreadable("DFAD_WEBHOOK_KEY is not set")
    try:
        return box.decrypt(stored.removeprefix(_SEALED)).decode()
    except InvalidToken as error:
        raise SecretUnreadable("DFAD_WEBHOOK_KEY is another one") from error


def _box() -> Fernet | None:
    key = get_settings().webhook_key
    if key is None:
        return None
    digest = hashlib.sha256(b"dfad webhook secrets\0" + key.get_secret_value().encode()).digest()
    return Fernet(base64.urlsafe_b64encode(digest))
