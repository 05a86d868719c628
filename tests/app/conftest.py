"""The application in this process, hundreds of times over."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest


@pytest.fixture(autouse=True, scope="package")
def garbage_stays() -> Iterator[None]:
    """No full collection when the application starts: here it takes longer than most tests. See test_main."""
    from app import main

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(main, "gc", SimpleNamespace(collect=int, freeze=int, unfreeze=int))
        yield
