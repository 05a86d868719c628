"""Two processes under torchrun with gloo: one student, one global batch, noise of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dfad_core.contract.errors import CheckpointError, ConfigError
from dfad_core.training.distributed import Group, current_group
from tests.dfad_core.training.two_processes import _one_update

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += ["-m", "tests.dfad_core.training.two_processes", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


def test_both_took_part(both) -> None:
    assert [(seen["rank"], seen["size"], seen["images"]) for seen in both] == [(0, 2, 8), (1, 2, 8)]


@pytest.mark.parametrize("what", ["update", "auto", "fast", "best", "resumed"])
def test_all_processes_have_the_same_student(both, what: str) -> None:
    assert both[0][what] == both[1][what]


def test_two_shares_are_the_update_of_the_whole_batch(both) -> None:
    for shared, whole in zip(both[0]["update"], _one_update(16), strict=True):
        np.testing.assert_allclose(shared, whole, rtol=1e-4, atol=1e-6)


def test_all_processes_use_the_first_ones_range(both) -> None:
    assert [seen["range"] for seen in both] == [[1.0], [1.0]]


def test_noise_differs_between_processes(both) -> None:
    assert not np.intersect1d(both[0]["noise"], both[1]["noise"]).size


def test_a_stop_reaches_all_and_a_resumed_run_ends_as_the_undisturbed_one(both) -> None:
    assert all(seen["stopped"] for seen in both)
    assert both[0]["resumed"] == both[0]["auto"]


def test_a_loss_that_is_not_finite_in_one_process_moves_no_student(both) -> None:
    expected = [{"raised": True, "same": True}] * 2
    assert [seen["loss of one"] for seen in both] == [expected, expected]


def test_alone_there_is_nothing_to_share() -> None:
    group = current_group()
    assert group == Group(0, 1)
    assert group.share(8) == 8
    assert group.from_first([0.5], torch.device("cpu")) == [0.5]
    assert group.mine(group.gather({"a": 1})) == {"a": 1}
    with pytest.raises(ConfigError):
        Group(0, 3).share(8)
    with pytest.raises(CheckpointError):
        group.mine([{}, {}])
