import os
from pathlib import Path

import pytest

from dfad_core.training import checkpoint
from dfad_core.training.checkpoint_folder import CheckpointFolder

JOB = bytes(32)


def _sealed(number: int) -> bytes:
    return checkpoint.pack({"number": number}, JOB)


def _number(data: bytes | None) -> int:
    assert data is not None
    return checkpoint.unpack(data, JOB)["number"]


def test_the_newest_is_loaded_and_the_older_ones_go(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "new", keep=2)
    assert folder.load() is None
    for step in (1, 5, 20, 100):
        folder.save(step, _sealed(step))
    assert _number(folder.load()) == 100
    assert len(list((tmp_path / "new").iterdir())) == 2


@pytest.mark.parametrize("length", [0, 7, 40, 79, 81, -1])
def test_a_torn_one_is_set_aside_and_the_one_before_taken(tmp_path: Path, length: int) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(1, _sealed(1))
    newest = folder.save(2, _sealed(2))
    newest.write_bytes(newest.read_bytes()[:length])
    damaged: list[Path] = []
    assert _number(folder.load(lambda path, _error: damaged.append(path))) == 1
    assert damaged == [newest]
    assert newest.with_suffix(".damaged").exists()
    assert _number(folder.load()) == 1


def test_one_changed_bit_is_noticed(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(1, _sealed(1))
    newest = folder.save(2, _sealed(2))
    data = bytearray(newest.read_bytes())
    data[-9] ^= 1
    newest.write_bytes(data)
    assert _number(folder.load()) == 1


@pytest.mark.parametrize("keep", [1, 2])
def test_a_run_that_starts_anew_goes_on_from_what_it_saved(tmp_path: Path, keep: int) -> None:
    """Seen before: the checkpoint of the run that was given up had the higher step, and was loaded again."""
    folder = CheckpointFolder(tmp_path, keep)
    for step in (8, 9):
        folder.save(step, _sealed(step))
    folder.save(1, _sealed(1))
    assert _number(folder.load()) == 1
    folder.save(2, _sealed(2))
    assert _number(folder.load()) == folder.newest_step() == 2
    assert len(list(tmp_path.iterdir())) == keep


def test_another_owner_written_over_is_damage(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(1, _sealed(1))
    newest = folder.save(2, _sealed(2))
    data = bytearray(newest.read_bytes())
    data[20] ^= 1  # within the fingerprint of the job
    newest.write_bytes(data)
    assert _number(folder.load()) == 1


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(1, _sealed(1))

    def fails(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fails)
        with pytest.raises(OSError, match="No space"):
            folder.save(2, _sealed(2))
    assert [p.name for p in tmp_path.iterdir()] == ["step-000000000001.dfad"]
    assert _number(folder.load()) == 1


def test_what_a_dead_writer_left_goes_and_the_users_own_files_stay(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    (tmp_path / ".step-000000000002.dfad.0a.unfinished").write_bytes(b"half")
    (tmp_path / "novel.unfinished").write_bytes(b"Once")
    assert folder.load() is None
    folder.save(3, _sealed(3))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["novel.unfinished", "step-000000000003.dfad"]
