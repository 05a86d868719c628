"""The form of a key: `dfad_`, 32 hex digits of its id, `_`, 256 random bits. Shown once, kept as an HMAC."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import secrets
import tempfile
from functools import cache
from pathlib import Path

from app.platform.settings import get_settings

MIN_PEPPER_BYTES = 16
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


class PepperDamaged(RuntimeError):
    """The pepper's file is empty or cut off; the text is for whoever starts the service."""


@cache
def pepper() -> bytes:
    """DFAD_KEY_PEPPER; where that is not set, a file under `home` that is made at first use.

    Raises PepperDamaged: keys hashed under less would be worth less, and those made before would be void.
    """
    settings = get_settings()
    if settings.key_pepper is not None:
        return settings.key_pepper.get_secret_value().encode()
    path = settings.home / "pepper"
    if not path.exists():
        _make(path)
    made = path.read_bytes()
    if len(made) < MIN_PEPPER_BYTES:
        raise PepperDamaged(
            f"{path} is empty or cut off. Put a copy of it back; or delete it, and a new one is made: "
            "every key made so far is void then."
        )
    return made


def check_pepper() -> None:
    """Raise PepperDamaged for a file that is there and damaged. Makes none."""
    settings = get_settings()
    if settings.key_pepper is None and (settings.home / "pepper").exists():
        pepper()


def _make(path: Path) -> None:
    """Whole or not at all, whatever ends the process meanwhile; the first of several processes makes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix="pepper-") as file:  # of mode 0600
        file.write(secrets.token_hex(32).encode())
        file.flush()
        os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(file.name, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
