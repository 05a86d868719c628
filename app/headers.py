"""Request headers that several routes take."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header

Prefer = Annotated[str | None, Header(description="`wait=N`: wait up to N (60) seconds.")]
IdempotencyKey = Annotated[
    str | None, Header(description="Same key, same payload: the same answer, for 24 h.")
]
