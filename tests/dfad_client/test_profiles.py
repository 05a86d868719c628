"""Which server and which key: every source, in its order, and what is wrong with a file of profiles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest

from dfad_client import Client, ProfileError
from dfad_client.profiles import Server, config_path, names, server

CONTENT = """
default = "lab"

[profiles.home]
base_url = "http://home.test"

[profiles.lab]
base_url = "http://lab.test"
api_key = "lab-key"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DFAD_BASE_URL", "DFAD_API_KEY", "DFAD_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "config.toml"
    path.write_text(CONTENT)
    path.chmod(0o600)
    monkeypatch.setenv("DFAD_CONFIG", str(path))
    return path


def test_arguments_environment_profile_default(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert server() == Server("http://lab.test", "lab-key")
    monkeypatch.setenv("DFAD_PROFILE", "home")
    assert server() == Server("http://home.test")
    monkeypatch.setenv("DFAD_API_KEY", "env-key")
    assert server() == Server("http://home.test", "env-key")
    monkeypatch.setenv("DFAD_BASE_URL", "http://env.test")
    assert server() == Server("http://env.test", "env-key")
    assert server(profile="lab") == Server("http://lab.test", "lab-key")
    assert server("http://given.test", "given-key") == Server("http://given.test", "given-key")
    file.unlink()
    for name in ("DFAD_BASE_URL", "DFAD_API_KEY", "DFAD_PROFILE"):
        monkeypatch.delenv(name)
    assert server() == Server("http://127.0.0.1:8000")


def test_a_profiles_key_is_sent_to_no_other_server(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert server("http://given.test") == Server("http://given.test")
    assert server("http://lab.test/") == Server("http://lab.test/", "lab-key")
    monkeypatch.setenv("DFAD_BASE_URL", "http://env.test")
    assert server() == Server("http://env.test")


def test_the_environments_key_is_not_sent_to_a_named_profile(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DFAD_API_KEY", "env-key")
    assert server(profile="home") == Server("http://home.test", "env-key")
    monkeypatch.setenv("DFAD_BASE_URL", "http://env.test")
    assert server(profile="home") == Server("http://home.test")
    assert server("http://given.test", profile="home") == Server("http://given.test", "env-key")
    monkeypatch.setenv("DFAD_BASE_URL", "http://home.test/")
    assert server(profile="home") == Server("http://home.test", "env-key")


def test_where_the_file_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DFAD_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/xdg")
    assert config_path() == Path("/xdg/dfad/config.toml")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", "/me")
    assert config_path() == Path("/me/.config/dfad/config.toml")


def test_names_begin_with_the_default(file: Path) -> None:
    assert names() == ["lab", "home"]


def test_keys_that_others_can_read_are_refused(file: Path) -> None:
    file.chmod(0o644)
    with pytest.raises(ProfileError, match="chmod 600"):
        server()
    file.write_text('[profiles.home]\nbase_url = "http://home.test"\n')
    assert server(profile="home") == Server("http://home.test")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[[", "not TOML"),
        ("defaults = 3", "unknown entry 'defaults'"),
        ("default = 3", "a profile's name"),
        ("profiles = 3", "must be tables"),
        ("[profiles]\nlab = 3", "table of texts"),
        ("[profiles.lab]\nbase_url = 3", "table of texts"),
        ('[profiles.lab]\nurl = "http://x"', "unknown entry 'url'"),
        ('default = "gone"', "no profile 'gone'"),
    ],
)
def test_what_is_wrong_is_said(file: Path, content: str, said: str) -> None:
    file.write_text(content)
    with pytest.raises(ProfileError, match=said):
        server()


def test_the_client_uses_them(server: Any, fake: Any, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFAD_CONFIG", str(file))
    server.on("GET", "/jobs/job_1", httpx2.Response(200, json=fake.job()))
    with Client(profile="lab") as client:
        client.jobs.retrieve("job_1")
    assert server.requests[0].url.host == "lab.test"
    assert server.requests[0].headers["authorization"] == "Bearer lab-key"
