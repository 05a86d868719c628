"""Files that are almost right: every one is refused with a code, or loads; nothing else comes out."""

import io
import json
import random
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from dfad_core import load_student
from dfad_core.contract.config import InputConfig
from dfad_core.contract.errors import TeacherRejected
from dfad_core.formats import load_teacher
from dfad_core.formats.safetensors import save_student
from dfad_core.networks import build_classifier

CODES = {
    "architecture_mismatch", "architecture_required", "compressed_archive", "corrupt_file", "format_refused",
    "nonfinite_weights", "one_logit", "tensor_layout", "unsafe_pickle", "unsupported_format",
}  # fmt: skip
ARGS = {"width": 2}


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_classifier("mlp8", num_classes=3, input_shape=(1, 8, 8), args=ARGS)


def garbled(raw: bytes, rng: random.Random) -> bytes:
    """`raw` with a few bytes changed, taken out or put in; near the start more often."""
    data = bytearray(raw)
    for _ in range(rng.choice((1, 1, 2, 8))):
        place = rng.randrange(min(len(data), 1500) if rng.random() < 0.7 else len(data))
        kind = rng.randrange(4)
        if kind <= 1:
            data[place] = rng.randrange(256)
        elif kind == 2:
            del data[place : place + rng.randrange(1, 30)]
        else:
            data[place:place] = rng.randbytes(rng.randrange(1, 9))
    return bytes(data)


def code_or_none(path: Path, *, student: bool = False) -> str | None:
    try:
        load_student(path) if student else load_teacher(path, architecture="mlp8")
    except TeacherRejected as error:
        return error.code
    return None


def test_garbled_files_have_codes(tmp_path: Path) -> None:
    torch.save({"model": network().state_dict(), "epoch": 3}, tmp_path / "t")
    save_student(
        tmp_path / "s",
        network(),
        architecture="mlp8",
        args=ARGS,
        num_classes=3,
        input=InputConfig((1, 8, 8)),
    )
    rng = random.Random(5)
    seen = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(300):
            raw = (tmp_path / "ts"[number % 2]).read_bytes()
            (tmp_path / "x").write_bytes(garbled(raw, rng))
            seen |= {code_or_none(tmp_path / "x"), code_or_none(tmp_path / "x", student=True)}
    assert seen - {None} <= CODES
    assert {"corrupt_file", "unsupported_format"} <= seen


def test_garbled_pickles_in_sound_archives_have_codes(tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "t")
    rng = random.Random(6)
    opcodes = b"\x80}q()tRcXKJMQ\x85\x86\x87\x88\x89NsubB.0hjra]eI\x8a"
    with zipfile.ZipFile(tmp_path / "t") as source:
        entries = {name: source.read(name) for name in source.namelist()}
    seen = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(300):
            pickled = bytearray(entries["t/data.pkl"])
            for _ in range(rng.choice((1, 2, 6))):
                pickled[rng.randrange(len(pickled))] = rng.choice(opcodes)
            with zipfile.ZipFile(tmp_path / "x", "w") as target:
                for name, data in entries.items():
                    target.writestr(name, bytes(pickled) if name == "t/data.pkl" else data)
            seen.add(code_or_none(tmp_path / "x"))
    assert seen - {None} <= CODES


@pytest.mark.parametrize(
    "raw", [b"", b"\x80", b"P", b"PK\x03\x04", b"\0" * 9, b"{" * 600, b"\xff" * 8 + b"{"]
)
def test_scraps(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "x").write_bytes(raw)
    assert code_or_none(tmp_path / "x") in {"unsupported_format", "corrupt_file"}
    assert code_or_none(tmp_path / "x", student=True) in {"unsupported_format", "corrupt_file"}


def test_an_archive_behind_something_else_vouches_for_nothing(tmp_path: Path) -> None:
    archive = io.BytesIO()
    torch.save(network().state_dict(), archive)
    torch.save(network().state_dict(), tmp_path / "x", _use_new_zipfile_serialization=False)
    (tmp_path / "x").write_bytes((tmp_path / "x").read_bytes() + archive.getvalue())
    assert code_or_none(tmp_path / "x") == "corrupt_file"


def test_export_archives_are_refused_by_content_not_by_name(tmp_path: Path) -> None:
    # torch.save names the archive's folder after the file.
    torch.save(network().state_dict(), tmp_path / "archive_format_3.pt")
    assert code_or_none(tmp_path / "archive_format_3.pt") is None
    with zipfile.ZipFile(tmp_path / "x", "w") as archive:
        for name in ("archive_format", "models/model.json", "data/weights/weight_0"):
            archive.writestr(f"m/{name}", "pt2")
    assert code_or_none(tmp_path / "x") == "format_refused"


GOOD: dict[str, Any] = {
    "architecture": "mlp8", "args": ARGS, "num_classes": 3, "extra": {},
    "input": {"shape": [1, 8, 8], "mean": None, "std": None},
}  # fmt: skip


@pytest.mark.parametrize(
    "said",
    [
        "not JSON", '"text"', "[]", "3", "null", "[" * 5000,
        *(json.dumps({**GOOD, **change}) for change in (
            {"architecture": "resnet9000"},
            {"architecture": ["mlp8"]},
            {"args": [1]},
            {"args": {"width": 10**9}},
            {"args": {"depth": 2}},
            {"num_classes": "3"},
            {"num_classes": 10**9},
            {"num_classes": True},
            {"input": None},
            {"input": {"shape": [1, 8], "mean": None, "std": None}},
            {"input": {"shape": [1.0, 8.0, 8.0], "mean": None, "std": None}},
            {"input": {"shape": [1, 8, 10**6], "mean": None, "std": None}},
            {"input": {"shape": [1, 8, 8], "mean": "a", "std": None}},
            {"input": {"shape": [1, 8, 8], "mean": [10**400], "std": None}},
            {"input": {"shape": [1, 8, 8], "mean": None, "std": [0]}},
            {"extra": 3},
        )),
    ],
)  # fmt: skip
def test_garbled_metadata(tmp_path: Path, said: str) -> None:
    save_file(network().state_dict(), tmp_path / "x", {"dfad": said})
    teacher = load_teacher(tmp_path / "x")
    assert (teacher.architecture, teacher.args, teacher.num_classes) == ("mlp8", ARGS, 3)
    assert any("metadata" in note for note in teacher.notes)
    assert code_or_none(tmp_path / "x", student=True) == "corrupt_file"


def test_metadata_of_a_later_version_may_say_more(tmp_path: Path) -> None:
    save_file(network().state_dict(), tmp_path / "x", {"dfad": json.dumps({**GOOD, "licence": "MIT"})})
    assert load_student(tmp_path / "x").dfad_metadata.args == ARGS
