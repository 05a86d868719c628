"""The engine's own random streams, so that a resumed run draws the same numbers as an uninterrupted one."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dfad_core.losses.virtual_interpolation import Mixing

_NOISE, _POOL, _MIXING, _EVALUATION, _EXTRA, _SEARCH = range(6)


def stream_seed(seed: int, stream: int, rank: int = 0) -> int:
    """A 63-bit seed for one stream of one of a job's processes, independent of all others."""
    entropy = [seed, stream, rank] if rank else [seed, stream]
    state = np.random.SeedSequence(entropy).generate_state(1, np.uint64)
    return int(state[0]) >> 1


def evaluation_seed(seed: int) -> int:
    """Seed of the images that set the ranges of exports; training never draws from it."""
    return stream_seed(seed, _EVALUATION)


class Streams:
    """Separate streams for the noise z, draws from the pool, mixtures, extra batches and searches."""

    def __init__(self, seed: int, device: torch.device, rank: int = 0) -> None:
        self.device = device
        self._noise = torch.Generator(device).manual_seed(stream_seed(seed, _NOISE, rank))
        self.pool = np.random.default_rng(stream_seed(seed, _POOL, rank))
        self._mixing = np.random.default_rng(stream_seed(seed, _MIXING, rank))
        self._extra = torch.Generator(device).manual_seed(stream_seed(seed, _EXTRA, rank))
        self.search = np.random.default_rng(stream_seed(seed, _SEARCH, rank))

    def noise(self, batch_size: int, latent_dim: int) -> Tensor:
        """z ~ N(0, I), float32, (B, Z)."""
        return torch.randn(batch_size, latent_dim, generator=self._noise, device=self.device)

    def extra_noise(self, batch_size: int, latent_dim: int) -> Tensor:
        """z ~ N(0, I) for extra batches, from a stream of its own."""
        return torch.randn(batch_size, latent_dim, generator=self._extra, device=self.device)

    def mixing(self, batch_size: int, concentration: float) -> Mixing:
        """A permutation of the batch and lambda ~ Beta(a, a) for each pair."""
        partner = torch.from_numpy(self._mixing.permutation(batch_size))
        share = self._mixing.beta(concentration, concentration, size=batch_size)
        share = share.astype(np.float32)
        return Mixing(
            partner.to(self.device, non_blocking=True),
            torch.from_numpy(share).to(self.device, non_blocking=True),
        )

    def state_dict(self) -> dict[str, Any]:
        """All streams; NumPy's as JSON text, which safe loading accepts whatever the NumPy release."""
        return {
            "noise": self._noise.get_state(),
            "side": self._extra.get_state(),
            "pool": json.dumps(self.pool.bit_generator.state),
            "mixing": json.dumps(self._mixing.bit_generator.state),
            "search": json.dumps(self.search.bit_generator.state),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what `state_dict` returned.

        The state of a stream on another kind of device cannot be loaded; the stream then starts from a seed
        derived from that state. A run that moves to or from a GPU draws other noise, but no noise twice.
        """
        for stream, name in ((self._noise, "noise"), (self._extra, "side")):
            data = state[name].cpu()
            if data.shape == stream.get_state().shape:
                stream.set_state(data)
            else:
                stream.manual_seed(int.from_bytes(hashlib.sha256(data.numpy().tobytes()).digest()[:7], "big"))
        self.search.bit_generator.state = json.loads(state["search"])
        self.pool.bit_generator.state = json.loads(state["pool"])
        self._mixing.bit_generator.state = json.loads(state["mixing"])


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's own streams of the CPU and of `device` for the block, and restore them afterwards.

    Streams of other devices are not read, since reading one waits for its device.
    """
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng([device] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
