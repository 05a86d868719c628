"""Settings out of files, passwords apart from addresses, and what is said where they are wrong."""

import os
import subprocess
import sys
from pathlib import Path
from typing import get_origin

import pytest
from kombu.utils.url import parse_url
from pydantic import SecretStr, ValidationError
from sqlalchemy.engine import make_url

from app.platform.setting_files import MAX_BYTES, SettingFileError
from app.platform.settings import Quota, Settings

SECRET = "hidden-away-0123456789"
ROOT = Path(__file__).resolve().parents[3]
NASTY = ["p@ss/w:rd", "100%41 off", "a?b#c&d=e+f", "\"'\\$HOME`", " spaces ", "ünï©ode🔑", "[::1]:5432", "%"]


@pytest.fixture
def in_file(home, monkeypatch, tmp_path):
    """Puts a value into a file that a setting's variable names."""

    def put(name: str, data: bytes) -> Path:
        path = tmp_path / name.lower()
        path.write_bytes(data)
        monkeypatch.setenv(f"DFAD_{name}_FILE", str(path))
        return path

    return put


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_file_is_as_good_as_a_variable(in_file, end):
    in_file("API_KEY", f"{SECRET}{end}".encode())
    in_file("PORT", f"1234{end}".encode())
    in_file("QUOTAS", b'{\n  "*": {"queued_jobs": 3}\n}' + end.encode())
    settings = Settings()
    assert settings.api_key == SecretStr(SECRET)
    assert settings.port == 1234
    assert settings.quotas == {"*": Quota(queued_jobs=3)}


def test_no_file_named_is_no_file(home, monkeypatch):
    monkeypatch.setenv("DFAD_API_KEY_FILE", "")
    assert Settings().api_key is None


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("API_KEY", b"", "the file is empty"),
        ("API_KEY", b"\n", "the file is empty"),
        ("API_KEY", f"{SECRET}\nmore\n".encode(), "more than one line"),
        ("DATABASE_PASSWORD", f"{SECRET}\x00".encode(), "control character"),
        ("API_KEY", SECRET.encode() + b"\xff", "not UTF-8"),
        ("API_KEY", SECRET.encode() * (MAX_BYTES // 20), "larger than"),
        ("QUOTAS", f"{{{SECRET}".encode(), "not JSON"),
    ],
)
def test_a_file_that_is_no_setting(in_file, name, data, told):
    path = in_file(name, data)
    with pytest.raises(SettingFileError, match=told) as caught:
        Settings()
    assert f"DFAD_{name}_FILE" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert str(path) in str(caught.value) or "JSON" in told


def test_a_file_that_cannot_be_read(home, monkeypatch, tmp_path):
    for path, told in ((tmp_path / "none", "No such file"), (tmp_path, "directory")):
        monkeypatch.setenv("DFAD_API_KEY_FILE", str(path))
        with pytest.raises(SettingFileError, match=f"DFAD_API_KEY_FILE: {path}: .*{told}"):
            Settings()


def test_a_value_and_a_file_for_one_setting(in_file, monkeypatch):
    in_file("API_KEY", SECRET.encode())
    monkeypatch.setenv("DFAD_API_KEY", "another")
    with pytest.raises(SettingFileError, match="one of the two must go"):
        Settings()


def test_variables_that_others_read_cannot_stand_in_a_file(in_file):
    in_file("OTLP_ENDPOINT", b"http://127.0.0.1:4318")
    with pytest.raises(SettingFileError, match="cannot stand in a file"):
        Settings()


@pytest.mark.parametrize("password", NASTY)
def test_passwords_need_no_quoting(home, password):
    settings = Settings(
        database_url="postgresql+psycopg://dfad@db:5432/dfad?sslmode=require",
        database_password=SecretStr(password),
        broker_url="rediss://me@redis:6379/0",
        broker_password=SecretStr(password),
    )
    database = make_url(settings.resolved_database_url)
    assert (database.username, database.password, database.host) == ("dfad", password, "db")
    assert (database.port, database.database, database.query) == (5432, "dfad", {"sslmode": "require"})
    broker = parse_url(settings.resolved_broker_url)
    assert (broker["userid"], broker["password"], broker["hostname"]) == ("me", password, "redis")
    assert (broker["port"], broker["virtual_host"]) == (6379, "0")


@pytest.mark.parametrize(
    "given",
    [
        {"database_password": SecretStr(SECRET)},
        {"broker_password": SecretStr(SECRET)},
        {
            "database_url": f"postgresql+psycopg://dfad:{SECRET}@db/dfad",
            "database_password": SecretStr("other"),
        },
        {"broker_url": f"redis://:{SECRET}@redis/0", "broker_password": SecretStr("other")},
        {"database_url": SECRET},
        {"s3_secret_access_key": SecretStr(SECRET)},
    ],
)
def test_what_does_not_go_together(home, given):
    with pytest.raises(ValidationError) as caught:
        Settings(**given)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("module", "in_file"),
    [
        ("app", True),
        ("app.migrate", False),
        ("app.healthy", True),
        ("worker", False),
        ("worker.healthy", True),
    ],
)
def test_every_program_says_what_is_wrong_and_no_more(tmp_path, module, in_file):
    bad = tmp_path / "key"
    bad.write_text(f"{SECRET}\n{SECRET}\n")
    wrong = ("DFAD_API_KEY_FILE", str(bad)) if in_file else ("DFAD_DATABASE_URL", SECRET)
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "DFAD_HOME": str(tmp_path / "home")}
    ran = subprocess.run(
        [sys.executable, "-m", module],
        cwd=tmp_path, env=env | dict([wrong]), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 2
    assert len(ran.stderr.splitlines()) == 1, ran.stderr
    assert wrong[0] in ran.stderr
    assert SECRET not in ran.stderr + ran.stdout
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("DFAD_QUOTAS", "{oops", ["not JSON", "an object", "character 2"]),
        ("DFAD_QUOTAS", "[]", ["valid dictionary"]),
        ("DFAD_QUOTAS", '{"acme": 3}', ["acme", "Quota"]),
        ("DFAD_QUOTAS", '{"acme": {"gpus": 1}}', ["acme.gpus", "no such entry"]),
        (
            "DFAD_QUOTAS",
            '{"acme": {"running_jobs": -1}}',
            ["acme.running_jobs", "greater than or equal to 0"],
        ),
        ("DFAD_QUOTAS", '{"*": {"requests_per_minute": 0}}', ["*.requests_per_minute", "or equal to 1"]),
        ("DFAD_WORKER_DEVICES", "cuda", ["not JSON", "a list"]),
        ("DFAD_WORKER_DEVICES", '["cuda", "gpu"]', ["1: ", "'auto', 'cpu' or 'cuda'"]),
        ("DFAD_WEBHOOK_ALLOW", "hooks.internal", ["not JSON", "a list"]),
        ("DFAD_WEBHOOK_ALLOW", "[1]", ["0: ", "valid string"]),
        ("DFAD_WEBHOOK_RETRY_SECONDS", "5,300", ["not JSON", "a list"]),
        ("DFAD_WEBHOOK_RETRY_SECONDS", "[5, -1]", ["1: ", "greater than 0"]),
    ],
)
def test_settings_of_json_name_themselves_and_the_place(home, monkeypatch, capsys, variable, value, told):
    from app.platform.startup import WRONG_SETTINGS, settings_or_exit

    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit) as ended:
        settings_or_exit()
    assert ended.value.code == WRONG_SETTINGS
    said = capsys.readouterr().err
    assert said.startswith(f"{variable}: ")
    assert len(said.splitlines()) == 1
    assert "EnvSettingsSource" not in said
    for part in told:
        assert part in said


def test_every_setting_of_json_is_known_by_its_form():
    complex_ones = {
        name for name, field in Settings.model_fields.items() if get_origin(field.annotation) in (dict, tuple)
    }
    assert complex_ones == {
        "oidc_roles",
        "quotas",
        "webhook_allow",
        "webhook_retry_seconds",
        "worker_devices",
    }
