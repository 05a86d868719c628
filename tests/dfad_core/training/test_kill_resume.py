"""A run that is killed twenty times, at any moment, ends with the student of the undisturbed run."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from dfad_core.contract.config import DistillConfig
from dfad_core.hooks import Hooks
from dfad_core.training import trainer
from dfad_core.training.checkpoint_folder import CheckpointFolder
from dfad_core.training.trainer import distill

KILLS = 20
STEPS = 120


class Keeping(Hooks):
    """Saves every checkpoint, and tells a pipe how far it is."""

    def __init__(self, folder: CheckpointFolder, pipe: int | None = None) -> None:
        self._folder, self._pipe = folder, pipe

    def checkpoint(self, step: int, data: bytes) -> None:
        self._tell()
        self._folder.save(step, data)

    def should_stop(self) -> str | None:
        self._tell()
        return None

    def _tell(self) -> None:
        if self._pipe is not None:
            os.write(self._pipe, b".")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """OpenMP's other threads do not survive a fork; whoever waits for them waits for ever."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def checkpoint_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long they take: half of the kills shall come while one is written."""
    monkeypatch.setattr(trainer, "CHECKPOINT_SHARE", 1e9)


def _run(tiny, config: DistillConfig, hooks: Hooks, resume: bytes | None = None) -> dict[str, torch.Tensor]:
    result = distill(tiny.classifier(8), tiny.classifier(4, seed=1), config, hooks, resume=resume)
    return result.student.state_dict()


def _forked(body: Callable[[int], None]) -> tuple[int, int]:
    """`body(pipe)` in a process of its own: its id, and the end of the pipe to read."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        status = 1
        try:
            body(theirs)
            status = 0
        finally:
            os._exit(status)
    os.close(theirs)
    return child, ours


@pytest.mark.parametrize("method", ["best", "fast", "collages"])
def test_killed_twenty_times_the_student_is_the_same_to_the_bit(tiny, tmp_path: Path, method: str) -> None:
    config = tiny.config(
        method={"name": method},
        steps=STEPS,
        student_steps=2,
        inner_steps=2,
        progress_seconds=60,
        checkpoint_seconds=1e-4,
        threads=1,
    )
    undisturbed = _run(tiny, config, Hooks())
    folder = CheckpointFolder(tmp_path / "checkpoints")
    chance = random.Random(5)  # the same kills every time

    def attempt(pipe: int) -> None:
        result = _run(tiny, config, Keeping(folder, pipe), folder.load())
        torch.save(result, tmp_path / "student.pt")

    kills = 0
    while kills < KILLS:
        child, pipe = _forked(attempt)
        # A tick is a step, or the moment before a checkpoint's write; then a little time on.
        for _ in range(chance.randint(3, 7)):
            assert os.read(pipe, 1), "the run ended before it was killed often enough"
        time.sleep(chance.random() * 0.004)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status)
        os.close(pipe)
        kills += 1
    child, pipe = _forked(attempt)
    while os.read(pipe, 1024):
        pass
    os.close(pipe)
    assert os.waitpid(child, 0)[1] == 0
    final = torch.load(tmp_path / "student.pt", weights_only=True)
    assert final.keys() == undisturbed.keys()
    assert all(torch.equal(final[name], undisturbed[name]) for name in final)


def test_from_the_one_before_a_damaged_checkpoint_the_student_is_the_same(tiny, tmp_path: Path) -> None:
    config = tiny.config(method={"name": "best"}, steps=12, checkpoint_seconds=1e-4, threads=1)
    folder = CheckpointFolder(tmp_path)
    undisturbed = _run(tiny, config, Keeping(folder))
    newest = max(tmp_path.iterdir())
    newest.write_bytes(newest.read_bytes()[:-100])
    earlier = folder.load()
    assert earlier is not None
    resumed = _run(tiny, config, Hooks(), earlier)
    assert all(torch.equal(resumed[name], undisturbed[name]) for name in resumed)
