"""Device, precision and number of threads of a run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from dfad_core.contract.config import DistillConfig
from dfad_core.contract.errors import ConfigError
from dfad_core.contract.machine import usable_processors
from dfad_core.data.random_streams import seeded


@dataclass(frozen=True)
class Runtime:
    """Device, precision and threads, with every `auto` of the config resolved."""

    device: torch.device
    precision: str
    """`bfloat16` (autocast) or `float32`."""
    threads: int

    @property
    def storage_dtype(self) -> torch.dtype:
        """Type in which synthetic images are stored; under autocast no finer type is used anyway."""
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32

    def autocast(self) -> torch.autocast:
        """The autocast context of this precision; disabled in float32."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16")


def resolve(config: DistillConfig) -> Runtime:
    """Choose device, precision and threads. Raises ConfigError (`no_cuda_device`)."""
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("no CUDA device is available", code="no_cuda_device", param="device")
    use_cuda = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
    device = torch.device("cuda" if use_cuda else "cpu")
    precision = config.training.precision
    if precision == "auto":
        precision = "bfloat16" if computes_bfloat16(device) else "float32"
    threads = config.training.threads or min(torch.get_num_threads(), usable_processors())
    return Runtime(device, precision, threads)


def computes_bfloat16(device: torch.device) -> bool:
    """Whether `device` multiplies in bfloat16 itself, rather than emulating it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@contextlib.contextmanager
def applied(runtime: Runtime, seed: int) -> Iterator[None]:
    """Set threads and torch's own random streams for a run; restore the caller's afterwards.

    The engine has random streams of its own; torch's matter only to networks that draw inside `forward`
    (dropout).
    """
    with cpu_threads(runtime.threads), seeded(seed, runtime.device):
        yield


@contextlib.contextmanager
def cpu_threads(number: int) -> Iterator[None]:
    """Let torch use `number` CPU threads for the block; restore the caller's number afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
