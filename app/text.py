"""Text that every database can hold."""

from __future__ import annotations


def storable(text: str) -> bool:
    """PostgreSQL stores neither NUL nor lone surrogates."""
    return "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)
