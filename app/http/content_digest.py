"""Content-Digest fields (RFC 9530)."""

from __future__ import annotations

import base64
import binascii
import re

from app.platform.errors import FieldProblem, InvalidBody

_SHA256 = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")


def named_digest(header: str) -> str:
    """The SHA-256 in a Content-Digest field, in hexadecimal (RFC 9530, 2)."""
    found = _SHA256.search(header)
    try:
        return base64.b64decode(found.group(1), validate=True).hex() if found else _no_digest()
    except binascii.Error:
        return _no_digest()


def _no_digest() -> str:
    problem = FieldProblem("/Content-Digest", "not of the form sha-256=:base64:")
    raise InvalidBody("The digest of the bytes cannot be read.", problem)
