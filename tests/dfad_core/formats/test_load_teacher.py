"""Teachers from files: what is understood, and what is refused with which code."""

import json
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from dfad_core.contract.config import InputConfig
from dfad_core.contract.errors import ConfigError, TeacherRejected
from dfad_core.formats import load_teacher
from dfad_core.formats.safetensors import save_student
from dfad_core.networks import build_classifier

SHAPE = (1, 8, 8)


def network(width: int = 4) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_classifier("cnn8", num_classes=10, input_shape=SHAPE, args={"width": width}).eval()


def assert_same(first: torch.nn.Module, second: torch.nn.Module) -> None:
    x = torch.randn(2, *SHAPE)
    torch.testing.assert_close(first.eval()(x), second.eval()(x))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"lr": 0.1}},
        lambda state: {"model": state},
        lambda state: {"net": {f"module.{k}": v for k, v in state.items()}, "acc": 0.9},
        lambda state: {f"_orig_mod.module.{k}": v for k, v in state.items()},
        lambda state: {k: v.double() for k, v in state.items()},
        lambda state: {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")},
    ],
    ids=["plain", "checkpoint", "model", "data-parallel", "compiled", "float64", "no-counters"],
)
def test_state_dicts_as_people_save_them(tmp_path: Path, wrap: Callable[[Any], Any]) -> None:
    source = network()
    path = tmp_path / "any.name"
    torch.save(wrap(source.state_dict()), path)
    teacher = load_teacher(path, architecture="cnn8")
    assert (teacher.num_classes, teacher.args, teacher.input.shape) == (10, {"width": 4}, SHAPE)
    assert teacher.module.training is False
    assert_same(teacher.module, source)


def test_architecture_is_inferred(tmp_path: Path) -> None:
    save_file(network().state_dict(), tmp_path / "x")
    teacher = load_teacher(tmp_path / "x")
    assert teacher.architecture == "cnn8"
    assert any("inferred" in note for note in teacher.notes)


def test_a_student_file_says_it_all(tmp_path: Path) -> None:
    given = InputConfig(SHAPE, (0.3,), (0.4,))
    source = network()
    save_student(tmp_path / "s", source, architecture="cnn8", args={"width": 4}, num_classes=10, input=given)
    teacher = load_teacher(tmp_path / "s")
    assert (teacher.architecture, teacher.input) == ("cnn8", given)
    assert_same(teacher.module, source)


class Trap:
    """Unpickling it leaves a trace."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["TRAP_FOLDER"],)


def write_text(path: Path) -> None:
    path.write_text("this is not a model\n" * 100)


def write_trap(path: Path) -> None:
    torch.save({"weights": Trap()}, path)


def write_bare_trap(path: Path) -> None:
    path.write_bytes(pickle.dumps(Trap()))


def write_module(path: Path) -> None:
    torch.save(network(), path)


def write_truncated(path: Path) -> None:
    torch.save(network().state_dict(), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def write_script(path: Path) -> None:
    torch.jit.save(torch.jit.trace(network(), torch.zeros(1, *SHAPE)), path)


def write_tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.add(__file__, "pickle")


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photo.txt", "x")


def write_deflated(path: Path) -> None:
    torch.save(network().state_dict(), path.with_suffix(".stored"))
    with (
        zipfile.ZipFile(path.with_suffix(".stored")) as source,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))


def write_escaping(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../x/data.pkl", "x")


def write_long_header(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 2**31) + b"{" + b" " * 64)


def write_duplicate_keys(path: Path) -> None:
    entry = '"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    header = f"{{{entry},{entry}}}".encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)


def write_torn_safetensors(path: Path) -> None:
    save_file(network().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-10])


def write_number(path: Path) -> None:
    torch.save(3.0, path)


def write_nan(path: Path) -> None:
    state = network().state_dict()
    state["linear.bias"][3] = float("nan")
    torch.save(state, path)


def write_empty_dict(path: Path) -> None:
    torch.save({}, path)


def write_sparse(path: Path) -> None:
    state = network().state_dict()
    state["linear.weight"] = state["linear.weight"].to_sparse()
    torch.save(state, path)


def write_other_network(path: Path) -> None:
    torch.save(build_classifier("mlp8", num_classes=10, input_shape=SHAPE).state_dict(), path)


@pytest.mark.parametrize(
    ("write", "code"),
    [
        (write_text, "unsupported_format"),
        (write_trap, "unsafe_pickle"),
        (write_bare_trap, "unsafe_pickle"),
        (write_module, "unsafe_pickle"),
        (write_truncated, "corrupt_file"),
        (write_script, "format_refused"),
        (write_tar, "format_refused"),
        (write_zip, "unsupported_format"),
        (write_deflated, "compressed_archive"),
        (write_escaping, "corrupt_file"),
        (write_long_header, "corrupt_file"),
        (write_duplicate_keys, "corrupt_file"),
        (write_torn_safetensors, "corrupt_file"),
        (write_number, "unsupported_format"),
        (write_empty_dict, "unsupported_format"),
        (write_nan, "nonfinite_weights"),
        (write_sparse, "tensor_layout"),
        (write_other_network, "architecture_mismatch"),
    ],
)
def test_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None], code: str
) -> None:
    trap = tmp_path / "sprung"
    monkeypatch.setenv("TRAP_FOLDER", str(trap))
    path = tmp_path / "teacher.pt"
    write(path)
    with pytest.raises(TeacherRejected) as caught:
        load_teacher(path, architecture="cnn8", args={"width": 4})
    assert caught.value.code == code
    assert str(tmp_path) not in str(caught.value)
    assert not trap.exists()


def test_mismatch_lists_the_names(tmp_path: Path) -> None:
    state = network().state_dict()
    state["extra"] = state.pop("bn2.weight")
    save_file(state, tmp_path / "x")
    with pytest.raises(TeacherRejected) as caught:
        load_teacher(tmp_path / "x", architecture="cnn8", num_classes=7)
    text = caught.value.message
    assert caught.value.code == "architecture_mismatch"
    assert "missing: bn2.weight" in text
    assert "unexpected: extra" in text
    assert "mis-shaped: linear.weight [10, 32] instead of [7, 32]" in text


def test_unknown_and_unnamed_architecture(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(3, 3)}, tmp_path / "x")
    with pytest.raises(TeacherRejected) as caught:
        load_teacher(tmp_path / "x")
    assert caught.value.code == "architecture_required"
    with pytest.raises(ConfigError):
        load_teacher(tmp_path / "x", architecture="resnet9000")


def test_garbled_metadata_is_no_obstacle(tmp_path: Path) -> None:
    save_file(network().state_dict(), tmp_path / "x", {"dfad": json.dumps({"architecture": 3})})
    assert load_teacher(tmp_path / "x", architecture="cnn8").architecture == "cnn8"
