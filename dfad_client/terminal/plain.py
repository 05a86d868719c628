"""Text of others on a terminal: names of tensors, messages of a server. They may say, and steer nothing."""

from __future__ import annotations

_KEPT = "\n\t"
_CONTROLS = {n: repr(chr(n))[1:-1] for n in (*range(32), *range(127, 160)) if chr(n) not in _KEPT}


def plain(text: str) -> str:
    """The same with what a terminal would obey written out; lines stay lines."""
    return text.translate(_CONTROLS)
