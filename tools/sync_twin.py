"""`python tools/sync_twin.py`: write `dfad_client/sync` from `dfad_client/aio`; with --check, only compare.

Names and keywords of asyncio are replaced token by token; ruff then breaks the lines anew. So the client is
written once, and both of its forms can be read and stepped through.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "dfad_client"
AIO, SYNC = PACKAGE / "aio", PACKAGE / "sync"
BY_HAND = {"__init__.py", "waiting.py"}
HEADER = "# Made from dfad_client/aio/{name} by `python tools/sync_twin.py`: change that one, and run it.\n"
#: Keywords that fall away, with the space behind them.
DROPPED = {"async", "await"}
RENAMED = {
    "AsyncBaseTransport": "BaseTransport",
    "AsyncGenerator": "Generator",
    "AsyncIterator": "Iterator",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "aclose": "close",
    "aclosing": "closing",
    "aio": "sync",
    "aiter_bytes": "iter_bytes",
    "aread": "read",
    "asynccontextmanager": "contextmanager",
}
OWN = re.compile(r"Async(?=[A-Z]\w+)")


def twin_of(source: str, name: str) -> str:
    """The synchronous form of an asynchronous module."""
    lines = source.splitlines(keepends=True)
    edits: list[tuple[int, int, int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        (row, start), (_, end) = token.start, token.end
        if token.type == tokenize.NAME and token.string in DROPPED:
            edits.append((row, start, end + 1, ""))
        elif token.type == tokenize.NAME:
            edits.append((row, start, end, RENAMED.get(token.string) or OWN.sub("", token.string)))
    for row, start, end, text in reversed(edits):
        line = lines[row - 1]
        lines[row - 1] = line[:start] + text + line[end:]
    text = "".join(lines).replace("Awaitable[None]", "None").replace("import Awaitable, ", "import ")
    text = text.replace(", Awaitable, ", ", ").replace("`async with`", "`with`")
    return _formatted(HEADER.format(name=name) + text)


def _formatted(text: str) -> str:
    """As ruff wants it; imports sorted, for names have changed."""
    for arguments in (["check", "--select", "I", "--fix", "--quiet"], ["format", "--quiet"]):
        command = [sys.executable, "-m", "ruff", *arguments, "--stdin-filename", str(SYNC / "made.py"), "-"]
        text = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    return text


def twins() -> dict[Path, str]:
    """What every made file should hold."""
    sources = [path for path in sorted(AIO.glob("*.py")) if path.name not in BY_HAND]
    return {SYNC / path.name: twin_of(path.read_text(encoding="utf-8"), path.name) for path in sources}


def outdated() -> list[Path]:
    """Made files that are missing, that differ from their source's twin, or that have no source any more."""
    wanted = twins()
    there = {path for path in SYNC.glob("*.py") if path.name not in BY_HAND}
    different = [p for p, text in wanted.items() if p not in there or p.read_text(encoding="utf-8") != text]
    return sorted({*different, *(there - set(wanted))})


def main(arguments: list[str]) -> int:
    """Write, or with --check say what is not as it should be (exit code 1)."""
    if arguments == ["--check"]:
        old = outdated()
        for path in old:
            print(f"{path} is not the twin of its source: run `make format`", file=sys.stderr)
        return 1 if old else 0
    wanted = twins()
    for path in outdated():
        if path in wanted:
            path.write_text(wanted[path], encoding="utf-8")
        else:
            path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
