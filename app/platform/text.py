"""Text that every database can hold."""

from __future__ import annotations


def storable(text: str) -> bool:
    """PostgreSQL stores neither NUL nor lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text
