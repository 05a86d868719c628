"""docs/operations.md: its commands are shell, and what they name is there."""

import re
import subprocess

import pytest

from app.platform.settings import Settings
from tests.deploy.deployment import ROOT, compose, tool

TEXT = (ROOT / "docs" / "operations.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [
    line.strip() for block in BLOCKS for line in block.replace("\\\n", " ").splitlines() if line.strip()
]


def test_blocks_are_shell():
    for block in BLOCKS:
        checked = [tool("shellcheck"), "--shell=sh", "--exclude=SC2148", "-"]
        ran = subprocess.run(checked, input=block, capture_output=True, text=True, timeout=60, check=False)
        assert ran.returncode == 0, ran.stdout


def test_services_profiles_and_files_are_there():
    read = compose(profiles="*")
    named = re.findall(
        r"docker compose (?:exec(?: -T)?|run(?: --\S+)*|stop|up(?: --\S+)*) ((?:[a-z]+ ?)*)",
        "\n".join(COMMANDS),
    )
    words = {word for found in named for word in found.split()}
    services = words - {"pg_dump", "dropdb", "createdb", "psql", "python", "pg"}
    assert services
    assert services <= set(read["services"])
    for path in re.findall(r"(?:deploy|tests|docs|benchmarks|app)/[\w./-]+\w", TEXT):
        assert (ROOT / path).exists(), path
    secrets = set(re.findall(r"secrets/(\w+)", TEXT)) - {"dfad"}
    assert secrets - {"api_key"} <= set(read["secrets"])


def test_settings_are_known():
    known = {f"DFAD_{name.upper()}{end}" for name in Settings.model_fields for end in ("", "_FILE")}
    of_compose = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    named = set(re.findall(r"\bDFAD_[A-Z_]+[A-Z]\b", TEXT))
    assert named - known - of_compose == set()


@pytest.mark.parametrize("module", sorted(set(re.findall(r"python -m ([\w.]+)", TEXT))))
def test_programs_are_there(module):
    path = ROOT.joinpath(*module.split("."))
    assert path.with_suffix(".py").exists() or (path / "__main__.py").exists()
