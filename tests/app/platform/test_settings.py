"""Settings that cannot work are refused by name, and variables that no setting has are named at the start."""

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.platform.settings import Settings
from app.platform.startup import unknown_variables
from tools import settings_page

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("lease", [3, 5, 60, 3600])
def test_the_times_of_a_lease_fit_each_other(home, lease):
    """Two renewals may fail before a runner is stopped, which is well before its lease lapses."""
    settings = Settings(lease_seconds=lease)
    assert 3 * settings.heartbeat_seconds < settings.self_fence_seconds < settings.lease_seconds * 0.8
    assert settings.reaper_seconds < settings.lease_seconds


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lease_seconds", 0.5),
        ("lease_seconds", math.nan),
        ("lease_seconds", math.inf),
        ("checkpoint_seconds", 100_000),  # the engine takes no more than a day
        ("max_attempts", 10**6),
        ("retry_backoff_seconds", 1e9),
        ("watchdog_seconds", math.inf),
        ("max_json_bytes", 1),
        ("runner_threads", 10**6),
    ],
)
def test_a_value_that_makes_no_sense(home, name, value):
    with pytest.raises(ValidationError, match=name):
        Settings(**{name: value})


def test_the_pause_after_many_attempts_is_no_overflow(home, monkeypatch):
    from app.jobs.lifecycle import back_off
    from app.platform.settings import get_settings

    monkeypatch.setenv("DFAD_RETRY_BACKOFF_SECONDS", "3600")
    get_settings.cache_clear()
    assert back_off(1) < 2 * 3600
    assert back_off(100) < 366 * 86_400


def test_variables_that_nothing_reads():
    environment = {
        "DFAD_LEASE_SECOND": "5",
        "dfad_api_ky": "secret",
        "DFAD_HEARTBEAT_SECONDS": "30",
        "DFAD_LOCAL_WORKERS": "2",
        "DFAD_QUITE_ELSEWHERE": "1",
        "DFAD_EMPTY": "",
        "DFAD_OTLP_ENDPOINT": "http://127.0.0.1:4318",
        "DFAD_LEASE_SECONDS": "60",
        "dfad_port": "8000",
        "DFAD_API_KEY_FILE": "/run/secrets/api_key",
        "DFAD_BASE_URL": "http://127.0.0.1:8000",
        "_DFAD_COMPLETE": "zsh_source",
        "PATH": "/usr/bin",
    }
    lines = unknown_variables(environment)
    assert [line.split()[0] for line in lines] == [
        "DFAD_API_KY",
        "DFAD_HEARTBEAT_SECONDS",
        "DFAD_LEASE_SECOND",
        "DFAD_LOCAL_WORKERS",
        "DFAD_OTLP_ENDPOINT",
        "DFAD_QUITE_ELSEWHERE",
    ]
    said = dict(zip([line.split()[0] for line in lines], lines, strict=True))
    assert "DFAD_API_KEY" in said["DFAD_API_KY"]
    assert "DFAD_LEASE_SECONDS" in said["DFAD_LEASE_SECOND"]
    assert "DFAD_LEASE_SECONDS" in said["DFAD_HEARTBEAT_SECONDS"]
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in said["DFAD_OTLP_ENDPOINT"]
    assert not any("secret" in line or "30" in line for line in lines)


def test_variables_of_the_other_programs_are_no_typing_errors():
    import re

    text = "".join(file.read_text() for file in (ROOT / "dfad_client").rglob("*.py"))
    names = set(re.findall(r"(?<![A-Z_])DFAD_[A-Z][A-Z0-9_]*", text))
    assert unknown_variables(dict.fromkeys(names, "1")) == []


@pytest.mark.parametrize("module", ["app", "app.migrate", "worker"])
def test_every_program_names_them_as_it_starts(tmp_path, module):
    """A warning in the log, and no error: the program goes on until it meets what stops it here."""
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "DFAD_HOME": str(tmp_path / "home"),
        "DFAD_LEASE_SECOND": "5",
        "DFAD_BROKER_URL": "nonsense://nowhere",
        "DFAD_PORT": "1" if module == "app" else "0",
        "DFAD_HOST": "203.0.113.1" if module == "app" else "127.0.0.1",
        "DFAD_API_KEY": "0123456789abcdef",
    }
    ran = subprocess.run(
        [sys.executable, "-m", module],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    lines = [line for line in ran.stderr.splitlines() if "DFAD_LEASE_SECOND " in line]
    assert len(lines) == 1, ran.stderr
    assert '"level": "warning"' in lines[0]
    assert "DFAD_LEASE_SECONDS" in lines[0]


def test_the_reference_is_current():
    assert settings_page.TARGET.read_text() == settings_page.written(), "run `python tools/settings_page.py`"


def test_the_reference_has_every_setting():
    text = settings_page.written()
    for name in Settings.model_fields:
        assert f"`DFAD_{name.upper()}`" in text or name == "otlp_endpoint", name
    assert "`OTEL_EXPORTER_OTLP_ENDPOINT`" in text


def test_operations_links_to_the_reference():
    assert "(settings.md)" in (ROOT / "docs" / "operations.md").read_text()


ISSUER = {"oidc_issuer": "https://id.example"}
RULES = ({"group": "g", "tenant": "vision", "role": "reader"},)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"oidc_issuer": "id.example"}, "oidc_issuer"),
        ({"oidc_issuer": "http://id.example"}, "must begin with https://"),
        ({"oidc_issuer": "https://id.example/?a=b"}, "query"),
        ({"oidc_issuer": "https://a:b@id.example"}, "user"),
        ({"oidc_issuer": "https://id.example:port"}, "an address"),
        ({"oidc_issuer": "https://"}, "an address"),
        ({"oidc_client_id": "page"}, "DFAD_OIDC_CLIENT_ID needs DFAD_OIDC_ISSUER"),
        ({"oidc_groups_claim": "roles"}, "DFAD_OIDC_GROUPS_CLAIM needs DFAD_OIDC_ISSUER"),
        ({"oidc_roles": RULES}, "DFAD_OIDC_ROLES needs DFAD_OIDC_ISSUER"),
        ({**ISSUER, "oidc_roles": RULES}, "needs DFAD_OIDC_CLIENT_ID, or DFAD_OIDC_AUDIENCE"),
        ({**ISSUER, "oidc_client_id": "page"}, "DFAD_OIDC_ROLES must say"),
        ({**ISSUER, "oidc_client_id": "p p", "oidc_roles": RULES}, "oidc_client_id"),
        (
            {**ISSUER, "oidc_audience": "a", "oidc_client_secret": "s", "oidc_roles": RULES},
            "CLIENT_SECRET needs",
        ),
        ({**ISSUER, "oidc_audience": "a", "oidc_client_id": "a", "oidc_roles": RULES}, "another one than"),
        ({**ISSUER, "oidc_client_id": "p", "oidc_scopes": "profile", "oidc_roles": RULES}, "openid must be"),
        ({"oidc_roles": ({"group": "g", "role": "reader"},)}, "needs a tenant"),
        ({"oidc_roles": ({"group": "g", "tenant": "a", "role": "operator"},)}, "name none"),
        ({"oidc_roles": ({"group": "g", "tenant": "A", "role": "reader"},)}, "oidc_roles.0.tenant"),
        ({"oidc_roles": ({"group": "g", "tenant": "a", "role": "king"},)}, "oidc_roles.0.role"),
        ({"oidc_roles": ({"group": "", "tenant": "a", "role": "reader"},)}, "oidc_roles.0.group"),
        ({"oidc_roles": ({"groups": "g", "tenant": "a", "role": "reader"},)}, "oidc_roles.0.groups"),
    ],
)
def test_sign_ins_that_cannot_be(home: Path, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(**wrong)
    assert said in str(refused.value)


def test_a_sign_in_that_can_be(home: Path) -> None:
    for issuer in ("https://id.example/realms/main", "http://localhost:8080", "http://[::1]:1/"):
        Settings(oidc_issuer=issuer, oidc_client_id="page", oidc_roles=RULES)
    Settings(**ISSUER, oidc_audience="api", oidc_roles=RULES)
