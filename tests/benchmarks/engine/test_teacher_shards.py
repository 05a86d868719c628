"""A teacher in shards is the same teacher, in float16."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
import torch

from benchmarks.engine import teacher_shards
from dfad_core.networks import build_classifier


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    """Of a network with BN, in channels_last."""
    torch.manual_seed(0)
    module = build_classifier("resnet8", num_classes=10, input_shape=(3, 32, 32))
    return module.to(memory_format=torch.channels_last).state_dict()


def test_shards_are_joined_to_the_rounded_teacher(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    limit = teacher_shards.HEADER + 40_000
    hashes = teacher_shards.write(tmp_path, "resnet8", weights, {"epochs": "3"}, limit=limit)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == sorted(hashes)
    assert len(files) > 3
    for file in files:
        assert re.fullmatch(r"[A-Za-z0-9._-]+", file.name)
        assert file.stat().st_size <= limit
        assert hashlib.sha256(file.read_bytes()).hexdigest() == hashes[file.name]
    assert teacher_shards.hashes(tmp_path, "resnet8") == hashes
    joined, facts = teacher_shards.read(tmp_path, "resnet8") or ({}, {})
    assert facts["epochs"] == "3"
    assert joined.keys() == weights.keys()
    for name, tensor in weights.items():
        assert joined[name].dtype == tensor.dtype
        assert torch.equal(joined[name], tensor.half().float() if tensor.is_floating_point() else tensor)


def test_what_is_not_whole_is_none(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    assert teacher_shards.read(tmp_path / "nowhere", "resnet8") is None
    teacher_shards.write(tmp_path, "resnet8", weights, {}, limit=teacher_shards.HEADER + 40_000)
    assert teacher_shards.read(tmp_path, "resnet") is None
    first, second, *_ = sorted(tmp_path.iterdir())
    data = first.read_bytes()
    first.write_bytes(data[:-100])
    assert teacher_shards.read(tmp_path, "resnet8") is None
    first.write_bytes(data)
    assert teacher_shards.read(tmp_path, "resnet8") is not None
    second.unlink()
    assert teacher_shards.read(tmp_path, "resnet8") is None
    teacher_shards.write(tmp_path, "resnet8", weights, {})
    assert [file.name for file in tmp_path.iterdir()] == ["resnet8.01-of-01.safetensors"]


def test_values_beyond_float16_stay_as_they_are(tmp_path: Path) -> None:
    weights = {"large": torch.tensor([1e6, 1.0]), "small": torch.tensor([0.1])}
    teacher_shards.write(tmp_path, "net", weights, {})
    joined, _ = teacher_shards.read(tmp_path, "net") or ({}, {})
    assert torch.equal(joined["large"], weights["large"])
    assert torch.equal(joined["small"], weights["small"].half().float())
