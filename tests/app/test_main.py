"""What the application does at its beginning and at its end."""

from __future__ import annotations

import gc

import pytest
from starlette.testclient import TestClient


def test_memory_is_set_aside_while_it_serves_and_given_back(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app import main

    monkeypatch.setattr(main, "gc", gc)  # the other tests' applications leave it alone
    gc.unfreeze()
    with TestClient(main.create_app()):
        assert gc.get_freeze_count() > 10_000
    assert gc.get_freeze_count() == 0
