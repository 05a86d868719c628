"""The form of a key: `dfad_`, 32 hex digits of its id, `_`, 256 random bits. Shown once, kept as an HMAC."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from functools import cache

from app.config import get_settings

_FORM = re.compile(r"dfad_([0-9a-f]{32})_([A-Za-z0-9_-]{43})")


def new_secret() -> str:
    """256 random bits; a slow hash would add nothing to them."""
    return secrets.token_urlsafe(32)


def token_of(key_id: str, secret: str) -> str:
    """What the user keeps."""
    return f"dfad_{key_id.removeprefix('key_')}_{secret}"


def parse(token: str) -> tuple[str, str] | None:
    """Key id and secret; None for what is no key of ours."""
    found = _FORM.fullmatch(token)
    return None if found is None else (f"key_{found.group(1)}", found.group(2))


def digest_of(secret: str) -> str:
    """HMAC-SHA256 under the pepper: a stolen database opens nothing."""
    return hmac.new(pepper(), secret.encode(), hashlib.sha256).hexdigest()


@cache
def pepper() -> bytes:
    """DFAD_KEY_PEPPER; where that is not set, a file under `home` that is made at first use."""
    settings = get_settings()
    if settings.key_pepper is not None:
        return settings.key_pepper.get_secret_value().encode()
    path = settings.home / "pepper"
    settings.home.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_hex(32).encode())
        file.flush()
        os.fsync(file.fileno())
    return path.read_bytes()
