"""The first and the last key of a server, from the command line.

Guards: that nobody locks themselves out of their own server with `dfad keys`, and that each refusal, and the
first key, says what to do next.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testing.running_service import clean_environment, end, start

Dfad = Callable[..., subprocess.CompletedProcess[str]]
REFUSED = 3


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def dfad(home: Path, tmp_path: Path) -> Iterator[Dfad]:
    """Runs a command of `dfad` against a server without the operator's key; `key` is the client's own."""
    url, processes = start(home, "app")

    def run(*arguments: str, key: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "dfad_client", *arguments]
        own = {"DFAD_BASE_URL": url, "DFAD_CONFIG": str(tmp_path / "config.toml")}
        environment = clean_environment(**own, **({"DFAD_API_KEY": key} if key else {}))
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    yield run
    end(processes)


def test_nobody_locks_themselves_out(dfad: Dfad, tmp_path: Path) -> None:
    for more in ((), ("--scope", "read"), ("--tenant", "vision"), ("--scope", "admin", "--days", "1")):
        refused = dfad("keys", "create", "ci", *more)
        assert (refused.returncode, refused.stdout) == (REFUSED, ""), more
        assert "[409 first_key_must_be_admin]" in refused.stderr
        assert "`dfad keys create NAME --scope admin`" in refused.stderr
        assert "DFAD_API_KEY" in refused.stderr
    assert dfad("list").returncode == 0

    first = dfad("keys", "create", "me", "--scope", "admin")
    assert first.returncode == 0, first.stderr
    assert "From now on every request to this server needs a key." in first.stderr
    assert f"DFAD_API_KEY in their environment, or as api_key of a profile in {tmp_path}" in first.stderr
    key = first.stdout.strip()
    assert dfad("list").returncode == REFUSED
    assert dfad("list", key=key).returncode == 0

    mine = json.loads(dfad("keys", "list", "--json", key=key).stdout)["data"][0]["id"]
    refused = dfad("keys", "revoke", mine, key=key)
    assert refused.returncode == REFUSED
    assert "[409 last_admin_key]" in refused.stderr
    assert "Make another one first" in refused.stderr
    assert "DFAD_API_KEY" in refused.stderr

    second = dfad("keys", "create", "ci", key=key)
    assert second.returncode == 0
    assert "From now on" not in second.stderr
    assert dfad("list", key=second.stdout.strip()).returncode == 0
    other = dfad("keys", "create", "other", "--scope", "admin", key=key).stdout.strip()
    assert dfad("keys", "revoke", mine, key=other).returncode == 0
    assert dfad("keys", "list", key=key).returncode == REFUSED


def test_the_operators_key_opens_what_is_locked(dfad: Dfad, home: Path) -> None:
    """What the refusals advise: with it, keys of other tenants are made, and any is revoked."""
    key = dfad("keys", "create", "me", "--scope", "admin").stdout.strip()
    url, processes = start(home, "app", DFAD_API_KEY="the-operators-key")
    try:
        at = ("--url", url)
        vision = dfad("keys", "create", "ci", "--tenant", "vision", *at, key="the-operators-key")
        assert (vision.returncode, "From now on" in vision.stderr) == (0, False)
        (mine,) = json.loads(dfad("keys", "list", "--json", key=key).stdout)["data"]
        assert dfad("keys", "revoke", mine["id"], *at, key="the-operators-key").returncode == 0
    finally:
        end(processes)
