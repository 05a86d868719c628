"""Labelled data of the user's own: read as they are meant, or refused with what is wrong."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dfad_core.contract.config import InputConfig
from dfad_core.contract.errors import EvaluationRejected
from dfad_core.formats.labelled import read_labelled, write_labelled
from dfad_core.formats.labelled_file import read_labelled_file

RGB = InputConfig((3, 8, 8), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
GREY = InputConfig((1, 8, 8))
PIXELS = np.arange(4 * 8 * 8 * 3, dtype=np.uint8).reshape(4, 8, 8, 3)


def picture(pixels: Any, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def npz(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def folders(path: Path, content: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def parquet(path: Path, images: list[Any], labels: list[Any]) -> Path:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"image": images, "label": labels}), path)
    return path


def test_the_same_images_in_every_form(tmp_path: Path) -> None:
    labels = np.array([0, 1, 2, 1])
    pictures = [picture(p) for p in PIXELS]
    forms = [
        npz(tmp_path / "a.npz", images=PIXELS, labels=labels),
        npz(tmp_path / "b.npz", x=PIXELS.transpose(0, 3, 1, 2), y=labels),
        parquet(tmp_path / "c.parquet", [{"bytes": p, "path": None} for p in pictures], labels.tolist()),
        parquet(tmp_path / "d.parquet", pictures, labels.tolist()),
    ]
    for path in forms:
        found = read_labelled_file(path, RGB, 3)
        assert found.labels_N.tolist() == [0, 1, 2, 1], path
        assert torch.equal(found.images_NCHW, torch.from_numpy(PIXELS).permute(0, 3, 1, 2)), path
    write_labelled(found, tmp_path / "kept.safetensors")
    again = read_labelled(tmp_path / "kept.safetensors", RGB, 3)
    x_BCHW, y_B = next(iter(again.batches()))
    assert y_B.tolist() == [0, 1, 2, 1]
    assert torch.allclose(x_BCHW, (torch.from_numpy(PIXELS).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25)


def test_folders_are_classes_by_number_or_by_alphabet(tmp_path: Path) -> None:
    one, other = picture(PIXELS[0]), picture(PIXELS[1], "BMP")
    numbered = folders(tmp_path / "n.zip", {"test/2/a.png": one, "test/0/b.bmp": other, "readme.txt": b"x"})
    assert sorted(read_labelled_file(numbered, RGB, 3).labels_N.tolist()) == [0, 2]
    named = folders(tmp_path / "w.zip", {"cat/a.png": one, "dog/b.bmp": other})
    assert read_labelled_file(named, RGB, 2).labels_N.tolist() == [0, 1]
    with pytest.raises(EvaluationRejected, match="2 class folders for 3 classes"):
        read_labelled_file(named, RGB, 3)


def test_other_sizes_and_colours_are_brought_to_the_teachers(tmp_path: Path) -> None:
    large = picture(np.zeros((20, 30, 3), np.uint8) + 200)
    found = read_labelled_file(folders(tmp_path / "l.zip", {"0/a.png": large}), GREY, 2)
    assert found.images_NCHW.shape == (1, 1, 8, 8)
    assert found.notes[1] == "Pictures resized to 8x8: 1."
    assert "mean and std" in found.notes[2]


def test_floats_are_taken_as_normalised(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(3, 8, 8))
    found = read_labelled_file(npz(tmp_path / "f.npz", images=x, labels=np.array([0, 1, 0])), GREY, 2)
    assert torch.allclose(next(iter(found.batches()))[0][:, 0], torch.from_numpy(x).float())


LABELS = np.array([0, 1, 2, 1])
BAD: dict[str, Callable[[Path], Any]] = {
    "no images": lambda p: npz(p, labels=LABELS),
    "other shape": lambda p: npz(p, images=PIXELS[:, :4], labels=LABELS),
    "a label too high": lambda p: npz(p, images=PIXELS, labels=LABELS + 1),
    "a label below 0": lambda p: npz(p, images=PIXELS, labels=LABELS - 1),
    "labels are words": lambda p: npz(p, images=PIXELS, labels=np.array(["a", "b", "c", "d"])),
    "labels too few": lambda p: npz(p, images=PIXELS, labels=LABELS[:2]),
    "not finite": lambda p: npz(p, images=np.full((4, 8, 8, 3), np.nan), labels=LABELS),
    "empty": lambda p: npz(p, images=PIXELS[:0], labels=LABELS[:0]),
    "a pickle inside": lambda p: npz(p, images=np.array([object()] * 4), labels=LABELS),
    "no folders": lambda p: folders(p, {"a.png": b"x"}),
    "no picture": lambda p: folders(p, {"0/a.png": b"not a picture", "1/b.png": b"x", "2/c.png": b""}),
    "words": lambda p: p.write_bytes(b"hello there, this is no data set"),
    "nothing": lambda p: p.write_bytes(b""),
    "torn zip": lambda p: p.write_bytes(npz(p, images=PIXELS, labels=LABELS).read_bytes()[:300]),
    "torn parquet": lambda p: p.write_bytes(b"PAR1" + b"\0" * 50 + b"PAR1"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "data.npz"
    BAD[what](path)
    with pytest.raises(EvaluationRejected):
        read_labelled_file(path, RGB, 3)


def test_a_picture_of_too_many_pixels_is_not_unpacked(tmp_path: Path) -> None:
    huge = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(huge, "PNG")
    with pytest.raises(EvaluationRejected):
        read_labelled_file(folders(tmp_path / "h.zip", {"0/a.png": huge.getvalue()}), RGB, 3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("input", [GREY, RGB])
def test_pictures_of_sixteen_bits_are_scaled_to_the_range(
    tmp_path: Path, kind: str, input: InputConfig
) -> None:
    content = {
        f"0/{v}.{kind.lower()}": picture(np.full((8, 8), v, np.uint16), kind) for v in (0, 30_000, 65_535)
    }
    found = read_labelled_file(folders(tmp_path / "d.zip", content), input, 2)
    assert found.images_NCHW[:, 0, 0, 0].tolist() == [0, 117, 255]
    assert any("3 images have more than 8 bits" in note and "65,535." in note for note in found.notes)


def test_pixels_of_twelve_bits_fill_the_range_too(tmp_path: Path) -> None:
    """As microscopes write them: a TIFF says how many bits a value has."""
    row = b"\xff\xf8\x00" * 4  # 4095 and 2048, each twice in six bytes
    entries = [(256, 8), (257, 8), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 8), (279, 96)]
    tiff = b"II*\0" + struct.pack("<I", 104) + row * 8 + struct.pack("<H", len(entries))
    tiff += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries) + bytes(4)
    found = read_labelled_file(folders(tmp_path / "d.zip", {"0/a.tif": tiff}), GREY, 2)
    assert found.images_NCHW[0, 0, 0, :2].tolist() == [255, 128]


def test_an_array_of_sixteen_bits_is_scaled_to_the_range(tmp_path: Path) -> None:
    images = np.array([0, 30_000, 65_535], np.uint16).repeat(64).reshape(3, 8, 8)
    found = read_labelled_file(npz(tmp_path / "u.npz", images=images, labels=np.zeros(3, np.int64)), GREY, 2)
    assert found.images_NCHW[:, 0, 0, 0].tolist() == [0, 117, 255]
    assert "The largest value is 65,535." in found.notes[0]


def test_labels_may_be_a_column(tmp_path: Path) -> None:
    column = np.array([[0], [1], [2], [1]], np.uint8)
    found = read_labelled_file(npz(tmp_path / "k.npz", x_test=PIXELS, y_test=column), RGB, 3)
    assert found.labels_N.tolist() == [0, 1, 2, 1]


def test_every_kind_of_picture_is_read_and_other_files_are_named(tmp_path: Path) -> None:
    kinds = {"png": "PNG", "jpg": "JPEG", "bmp": "BMP", "webp": "WEBP", "tif": "TIFF", "TIFF": "TIFF"}
    content = {f"0/a.{suffix}": picture(PIXELS[0], kind) for suffix, kind in kinds.items()}
    content |= {"0/": b"", "0/.DS_Store": b"x", "0/a.gif": b"x"}
    found = read_labelled_file(folders(tmp_path / "k.zip", content), RGB, 2)
    assert found.count == len(kinds)
    (note,) = [note for note in found.notes if "skipped" in note]
    assert note.startswith("Files skipped because they are not ")
    assert note.endswith(": 1 (0/a.gif).")


@pytest.mark.parametrize("form", ["folders", "parquet"])
def test_broken_pictures_are_named_and_skipped(tmp_path: Path, form: str) -> None:
    good = picture(PIXELS[0])
    broken = [good[:40], b"", b"no picture", picture(np.zeros((8, 8), np.float32), "TIFF")]
    if form == "folders":
        content = {"0/good.png": good} | {f"1/{n}\n.png": data for n, data in enumerate(broken)}
        path, named = folders(tmp_path / "b.zip", content), "1/0 .png, 1/1 .png, 1/2 .png, 1/3 .png."
    else:
        path, named = (
            parquet(tmp_path / "b.pq", [good, *broken], [0, 1, 1, 1, 1]),
            "row 1, row 2, row 3, row 4.",
        )
    found = read_labelled_file(path, RGB, 2)
    assert found.labels_N.tolist() == [0]
    assert any(
        note == f"Pictures skipped because they could not be read: 4 ({named[:-1]})." for note in found.notes
    )


def test_a_torn_entry_of_the_zip_is_skipped(tmp_path: Path) -> None:
    path = folders(tmp_path / "t.zip", {"0/a.png": picture(PIXELS[0]), "1/b.png": picture(PIXELS[1])})
    data = path.read_bytes()
    place = data.index(b"1/b.png") + len(b"1/b.png") + 20
    path.write_bytes(data[:place] + bytes(4) + data[place + 4 :])
    found = read_labelled_file(path, RGB, 2)
    assert (found.count, found.labels_N.tolist()) == (1, [0])


def test_the_notes_name_a_few_of_many_broken_pictures(tmp_path: Path) -> None:
    content = {f"0/{'x' * 300}{number}.png": b"x" for number in range(200)}
    with pytest.raises(EvaluationRejected, match="None of the 200 pictures can be read") as refused:
        read_labelled_file(folders(tmp_path / "m.zip", content), RGB, 2)
    assert "and 195 more" in refused.value.message
    assert len(refused.value.message) < 500


def test_the_notes_show_the_class_of_each_folder(tmp_path: Path) -> None:
    one = picture(PIXELS[0])
    path = folders(tmp_path / "n.zip", {"dog/a.png": one, "cat/b.png": one})
    found = read_labelled_file(path, RGB, 3, ("bird", "dog", "cat"))
    assert found.labels_N.tolist() == [1, 2]
    assert found.notes[0] == "Folders are classes by name: dog → 1, cat → 2."
