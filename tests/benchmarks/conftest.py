"""Made-up data sets in the forms that the benchmarks read."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from dfad_core.networks import build_classifier


def encoded(array: np.ndarray[Any, Any]) -> bytes:
    """A PNG."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture
def coloured(tmp_path: Path) -> Callable[..., Path]:
    """Writes a parquet file of `count` noisy 32x32 images whose brightness is their class (0 to 3)."""

    def write(
        name: str, count: int = 48, *, struct: bool = False, side: int = 32, label: str = "label"
    ) -> Path:
        rng = np.random.default_rng(0)
        labels = np.arange(count) % 4
        arrays = [
            np.clip(60 * c + rng.integers(0, 50, (side, side, 3)), 0, 255).astype(np.uint8) for c in labels
        ]
        images: Any = [encoded(a) for a in arrays]
        if struct:
            images = [{"bytes": i, "path": "x.png"} for i in images]
        path = tmp_path / name
        pq.write_table(pa.table({"img" if struct else "image": images, label: labels}), path)
        return path

    return write


@pytest.fixture
def colour_data(coloured: Callable[..., Path]) -> Path:
    """A data folder with CIFAR-10's files of a few images each, and its public teachers, untrained."""
    folder = coloured("cifar10-train.parquet").parent
    coloured("cifar10-test.parquet", 12)
    (folder / "teachers").mkdir()
    for name in ("resnet20", "resnet56"):
        torch.manual_seed(0)
        network = build_classifier(name, num_classes=10, input_shape=(3, 32, 32))
        torch.save(network.state_dict(), folder / "teachers" / f"cifar10-{name}-public.pt")
    return folder
