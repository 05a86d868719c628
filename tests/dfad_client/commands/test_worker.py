"""`dfad worker`: what it needs to be told, and what a worker must not be told besides."""

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from dfad_client.cli import app

KEY = "dfad_" + "0" * 32 + "_" + "s" * 43


def worker(**settings: str) -> subprocess.CompletedProcess[str]:
    """The command with these settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DFAD_")}
    command = [sys.executable, "-m", "dfad_client", "worker"]
    return subprocess.run(
        command, env=kept | settings, capture_output=True, text=True, timeout=90, check=False
    )


@pytest.mark.parametrize(
    ("given", "named"), [((), "--server or DFAD_SERVER"), (("--server", "https://x.example"), "DFAD_API_KEY")]
)
def test_server_and_key_are_needed(given, named, monkeypatch):
    for name in [name for name in os.environ if name.startswith("DFAD_")]:
        monkeypatch.delenv(name)
    done = CliRunner().invoke(app, ["worker", *given])
    assert done.exit_code == 2
    assert named in done.output


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"DFAD_SERVER": "http://dfad.example"}, "DFAD_SERVER: a key and models travel there"),
        ({"DFAD_SERVER": "dfad.example"}, "DFAD_SERVER: it must be an address"),
        (
            {"DFAD_SERVER": "https://dfad.example", "DFAD_DATABASE_URL": "postgresql+psycopg://a@b/c"},
            "DFAD_SERVER and DFAD_DATABASE_URL exclude each other",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(settings, named):
    done = worker(DFAD_API_KEY=KEY, **settings)
    assert done.returncode == 2
    assert named in done.stderr
    assert KEY not in done.stderr
