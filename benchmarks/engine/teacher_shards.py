"""A teacher's weights in small files: float16 safetensors in shards."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

LIMIT = 15 * 2**20
"""Bytes of a file at most."""
HEADER = 2**16
"""Bytes of these left for names and places."""


def write(
    folder: Path, name: str, weights: Mapping[str, Tensor], facts: Mapping[str, str], *, limit: int = LIMIT
) -> dict[str, str]:
    """Write `weights` as `<name>.01-of-03.safetensors` and so on; file name -> SHA-256.

    Floating-point tensors become float16, unless a value of theirs is out of its range. `facts` are kept in
    every file. A tensor larger than `limit` has a file of its own. Each file appears whole or not at all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in [*_files(folder, name).values(), *folder.glob(f"{name}.*.tmp")]:
        old.unlink()
    shards = list(_shards({key: _halved(tensor) for key, tensor in weights.items()}, limit - HEADER))
    written = {}
    for number, shard in enumerate(shards, start=1):
        path = folder / f"{name}.{number:02d}-of-{len(shards):02d}.safetensors"
        data = save(shard, metadata=dict(facts))
        scratch = path.with_suffix(".tmp")
        with scratch.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
        written[path.name] = hashlib.sha256(data).hexdigest()
    return written


def read(folder: Path, name: str) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """Weights in float32 on the CPU, and facts, of all shards; None unless all are there and whole."""
    files = _files(folder, name)
    if not files or sorted(number for number, _ in files) != list(range(1, max(n for _, n in files) + 1)):
        return None
    weights: dict[str, Tensor] = {}
    facts: dict[str, str] = {}
    try:
        for path in files.values():
            with safe_open(path, framework="pt") as shard:
                facts |= shard.metadata() or {}
                for key in shard.keys():  # noqa: SIM118 - it is no mapping
                    tensor = shard.get_tensor(key)
                    weights[key] = tensor.float() if tensor.dtype == torch.float16 else tensor
    except SafetensorError:
        return None
    return weights, facts


def hashes(folder: Path, name: str) -> dict[str, str]:
    """File name -> SHA-256 of the shards that are there."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in _files(folder, name).values()}


def _files(folder: Path, name: str) -> dict[tuple[int, int], Path]:
    """(number, count) -> the shard."""
    form = re.compile(rf"{re.escape(name)}\.(\d+)-of-(\d+)\.safetensors")
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    matches = [(form.fullmatch(path.name), path) for path in paths]
    return {(int(match[1]), int(match[2])): path for match, path in matches if match}


def _shards(weights: Mapping[str, Tensor], limit: int) -> Iterator[dict[str, Tensor]]:
    shard: dict[str, Tensor] = {}
    size = 0
    for key, tensor in weights.items():
        if shard and size + tensor.nbytes > limit:
            yield shard
            shard, size = {}, 0
        shard[key] = tensor
        size += tensor.nbytes
    yield shard


def _halved(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    return half if bool(torch.isfinite(half).all()) else tensor
