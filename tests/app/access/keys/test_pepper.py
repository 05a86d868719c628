"""The pepper under which keys are hashed: whole or not there, and never made anew beside a damaged one."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.__main__ import main
from app.access.keys import tokens


def test_many_that_make_it_at_once_have_the_same(home: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: tokens.pepper.__wrapped__(), range(32)))
    assert made == {(home / "pepper").read_bytes()}
    assert stat.S_IMODE((home / "pepper").stat().st_mode) == 0o600
    assert [path.name for path in home.iterdir() if path.name.startswith("pepper")] == ["pepper"]


def test_a_full_disk_leaves_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            tokens.pepper()
    assert not [path.name for path in home.iterdir() if path.name.startswith("pepper")]
    assert len(tokens.pepper()) == 64


@pytest.mark.parametrize("left", [b"", b"0123456789abcde"])
def test_a_damaged_one_is_not_used(home: Path, capsys: pytest.CaptureFixture[str], left: bytes) -> None:
    home.mkdir(exist_ok=True)
    (home / "pepper").write_bytes(left)
    with pytest.raises(tokens.PepperDamaged, match="Put a copy of it back"):
        tokens.digest_of("secret")
    assert main() == 2  # the server does not start
    assert "pepper is empty or cut off" in capsys.readouterr().err
    assert (home / "pepper").read_bytes() == left
