"""What a button did, told on the page that comes next. Kept by the browser for that long."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass

from fastapi.responses import Response

NAME = "dfad_told"
SECONDS = 30
MOST_TOLD = 3
MOST_CHARACTERS = 1500

DONE = {
    "cancel": "asked to end",
    "pause": "asked to pause",
    "resume": "queued again",
    "rerun": "started once more",
    "delete": "deleted",
}


@dataclass(frozen=True)
class Told:
    """A sentence, and what was refused on the way."""

    done: str
    refused: list[str]


def tell(answer: Response, action: str, done: int, refused: list[str]) -> None:
    """Let the next page say so."""
    jobs = "One job was" if done == 1 else f"{done} jobs were"
    sentence = f"{jobs} {DONE[action]}." if done or not refused else "Nothing was changed."
    more = len(refused) - MOST_TOLD
    told = refused[:MOST_TOLD] + ([f"And {more} more."] if more > 0 else [])
    text = json.dumps({"done": sentence, "refused": told})
    value = base64.urlsafe_b64encode(text.encode()).decode()
    answer.set_cookie(NAME, value, max_age=SECONDS, httponly=True, samesite="strict")


def read(value: str | None) -> Told | None:
    """What was told; None for nothing, and for what nobody here wrote."""
    if not value or len(value) > MOST_CHARACTERS:
        return None
    try:
        found = json.loads(base64.urlsafe_b64decode(value))
        return Told(str(found["done"]), [str(one) for one in found["refused"]])
    except (binascii.Error, ValueError, KeyError, TypeError, RecursionError):
        return None
