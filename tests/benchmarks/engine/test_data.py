"""Images and labels as they lie in the files, and a clear word when they do not."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from benchmarks.engine.data import DataMissing, data_dir, data_file, load_images, normalise


def write(path: Path, arrays: list[np.ndarray], labels: list[int]) -> None:
    encoded = []
    for array in arrays:
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, format="PNG")
        encoded.append(buffer.getvalue())
    columns = {"image": pa.array(encoded, pa.binary()), "label": pa.array(labels, pa.int8())}
    pq.write_table(pa.table(columns), path)


@pytest.mark.parametrize(("size", "shape"), [((5, 4), (1, 5, 4)), ((5, 4, 3), (3, 5, 4))])
def test_reads_images_and_labels(tmp_path: Path, size: tuple[int, ...], shape: tuple[int, ...]) -> None:
    arrays = [np.full(size, 10 * i, np.uint8) for i in range(4)]
    write(tmp_path / "d.parquet", arrays, [3, 1, 4, 1])
    images_BCHW, labels_B = load_images(tmp_path / "d.parquet")
    assert images_BCHW.shape == (4, *shape)
    assert images_BCHW.dtype == torch.uint8
    assert images_BCHW[:, 0, 0, 0].tolist() == [0, 10, 20, 30]
    assert labels_B.tolist() == [3, 1, 4, 1]
    assert labels_B.dtype == torch.int64


def test_reads_a_slice(tmp_path: Path) -> None:
    write(tmp_path / "d.parquet", [np.full((2, 2), i, np.uint8) for i in range(5)], [0, 1, 2, 3, 4])
    images_BCHW, labels_B = load_images(tmp_path / "d.parquet", first=1, count=2)
    assert labels_B.tolist() == [1, 2]
    assert images_BCHW[:, 0, 0, 0].tolist() == [1, 2]


def test_normalises_and_resizes() -> None:
    images_BCHW = torch.full((2, 1, 28, 28), 51, dtype=torch.uint8)
    x_BCHW = normalise(images_BCHW, (0.1,), (0.5,), side=32)
    assert x_BCHW.shape == (2, 1, 32, 32)
    assert torch.allclose(x_BCHW, torch.tensor(0.2), atol=1e-6)


def test_each_channel_has_its_own_scale() -> None:
    x_BCHW = normalise(torch.full((1, 2, 3, 3), 255, dtype=torch.uint8), (0.0, 0.5), (1.0, 0.25))
    assert torch.allclose(x_BCHW[0, :, 0, 0], torch.tensor([1.0, 2.0]))


def test_the_folder_given_wins_over_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named, given = tmp_path / "named", tmp_path / "given"
    named.mkdir()
    given.mkdir()
    monkeypatch.setenv("DFAD_DATA_DIR", str(named))
    assert data_dir() == named
    assert data_dir(str(given)) == given


def test_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match="DFAD_DATA_DIR"):
        data_dir(str(tmp_path / "nowhere"))
    with pytest.raises(DataMissing, match=r"mnist-test\.parquet"):
        data_file(tmp_path, "mnist-test.parquet")
