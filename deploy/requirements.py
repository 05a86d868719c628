"""What an image installs, one requirement a line: `python requirements.py pyproject.toml EXTRA...`.

The package's own dependencies are torch's, which the API never imports: they are printed for `engine`.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ENGINE = "engine"


def requirements(project: dict[str, object], extras: list[str]) -> list[str]:
    """The requirements of these extras, with `name[other]` of this very package followed. Raises KeyError."""
    optional = project["optional-dependencies"]
    assert isinstance(optional, dict)
    found: dict[str, None] = {}
    for extra in extras:
        wanted = project["dependencies"] if extra == ENGINE else optional[extra]
        assert isinstance(wanted, list)
        for line in wanted:
            own = re.fullmatch(rf"{project['name']}\[([\w, -]+)\]", line)
            more = requirements(project, re.split(r",\s*", own.group(1))) if own else [line]
            found |= dict.fromkeys(more)
    return list(found)


if __name__ == "__main__":
    about = tomllib.loads(Path(sys.argv[1]).read_text())["project"]
    print("\n".join(requirements(about, sys.argv[2:])))
