"""Real worker processes with short leases."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.workers import SHORT, Workers


@pytest.fixture
def short_leases(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of this process and of the workers it starts."""
    from app.platform.settings import get_settings

    for name, value in {**SHORT, "DFAD_RUNNER_THREADS": "1"}.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()


@pytest.fixture
def workers(short_leases: None, tmp_path: Path) -> Iterator[Workers]:
    """A maker of workers; they are gone after the test."""
    made = Workers(tmp_path / "worker.log")
    yield made
    made.close()
    print(made.log())  # shown by pytest when the test failed
