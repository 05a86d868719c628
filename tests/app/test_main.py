"""What the application does at its beginning and at its end."""

from __future__ import annotations

import gc

from starlette.testclient import TestClient


def test_memory_is_set_aside_while_it_serves_and_given_back(database: str) -> None:
    from app.main import create_app

    gc.unfreeze()
    with TestClient(create_app()):
        assert gc.get_freeze_count() > 10_000
    assert gc.get_freeze_count() == 0
