"""`python -m worker.walls`: which walls a reader of strangers' files has on this machine (or container).

Exit code 1 if files or calls would stand open; a worker there takes teachers only from people you trust.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from worker.sandbox import confine

NEEDED = ("landlock", "seccomp")
"""The others are second walls behind these: a process that can make no socket needs no network of its own."""


def missing() -> list[str]:
    """Walls that are not to be had here. They are tried by a child, for they cannot be taken down again."""
    reading, writing = os.pipe()
    with tempfile.TemporaryDirectory() as folder:
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                os.write(writing, json.dumps(confine(Path(folder), 0)).encode())
                code = 0
            finally:
                os._exit(code)
        os.close(writing)
        with os.fdopen(reading, "rb") as answer:
            text = answer.read()
        _, status = os.waitpid(pid, 0)
    if status != 0:
        return list(NEEDED)
    return [str(name) for name in json.loads(text)]


def main() -> int:
    """Say it."""
    absent = missing()
    open_to = [name for name in absent if name in NEEDED]
    print(f"missing: {', '.join(absent) or 'nothing'}")
    if open_to:
        print("Strangers' files are not safe to read here.", file=sys.stderr)
    return 1 if open_to else 0


if __name__ == "__main__":
    sys.exit(main())
