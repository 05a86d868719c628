"""Fenced blocks, inline code and links of a Markdown file, with the headings that they stand under."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(\w*)\s*$")
_HEADING = re.compile(r"^(#+) (.*)$")
_INLINE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the headings above it, outermost first."""

    language: str
    text: str
    headings: tuple[str, ...]
    line: int

    def under(self, heading: str) -> bool:
        """Whether it belongs to that chapter."""
        return heading in self.headings


@dataclass(frozen=True)
class Document:
    """A file, taken apart."""

    path: Path
    blocks: tuple[Block, ...]
    inline: tuple[str, ...]
    links: tuple[str, ...]
    headings: tuple[str, ...]
    prose: str


def read(path: Path) -> Document:
    """Take a file apart. Raises AssertionError for a fence that is not closed."""
    blocks: list[Block] = []
    prose: list[str] = []
    trail: list[tuple[int, str]] = []
    headings: list[str] = []
    language: str | None = None
    inside: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if language is not None:
            if line.startswith("```"):
                above = tuple(text for _, text in trail)
                blocks.append(Block(language, "\n".join(inside), above, number - len(inside)))
                language, inside = None, []
            else:
                inside.append(line)
        elif fence:
            language = fence.group(1)
        else:
            if heading := _HEADING.match(line):
                level, text = len(heading.group(1)), heading.group(2).strip()
                trail = [*((depth, above) for depth, above in trail if depth < level), (level, text)]
                headings.append(text)
            prose.append(line)
    assert language is None, f"{path}: a fence is open at the end"
    text = "\n".join(prose)
    inline = tuple(dict.fromkeys(" ".join(found.split()) for found in _INLINE.findall(text)))
    return Document(
        path, tuple(blocks), inline, tuple(dict.fromkeys(_LINK.findall(text))), tuple(headings), text
    )


def anchor(heading: str) -> str:
    """What a link within the page calls the heading."""
    kept = re.sub(r"[^\w\- ]", "", heading.lower())
    return kept.replace(" ", "-")
