"""Students survive the way to disk and back."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dfad_core import load_student
from dfad_core.contract.config import InputConfig
from dfad_core.contract.errors import TeacherRejected
from dfad_core.formats.safetensors import save_student
from dfad_core.networks import build_classifier


def test_round_trip(tmp_path: Path) -> None:
    student = build_classifier("mlp8", num_classes=4, input_shape=(2, 8, 8), args={"width": 16}).eval()
    path = tmp_path / "student.safetensors"
    given = InputConfig((2, 8, 8), (0.1, 0.2), (1.0, 2.0))
    save_student(
        path, student, architecture="mlp8", args={"width": 16}, num_classes=4, input=given, extra={"seed": 3}
    )
    again = load_student(path)
    assert again.training is False
    assert again.dfad_metadata.input == given
    assert again.dfad_metadata.extra == {"seed": 3}
    x = torch.randn(3, 2, 8, 8)
    assert torch.equal(again(x), student(x))
    assert [p.name for p in tmp_path.iterdir()] == ["student.safetensors"]


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student = build_classifier("mlp8", num_classes=4, input_shape=(1, 8, 8))

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_student(
            tmp_path / "s", student, architecture="mlp8", num_classes=4, input=InputConfig((1, 8, 8))
        )
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_our_metadata(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(2)}, tmp_path / "x")
    with pytest.raises(TeacherRejected) as caught:
        load_student(tmp_path / "x")
    assert caught.value.code == "unsupported_format"


def test_the_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    student = build_classifier("mlp8", num_classes=4, input_shape=(1, 8, 8))
    (tmp_path / "plain").write_bytes(b"x")
    save_student(tmp_path / "s", student, architecture="mlp8", num_classes=4, input=InputConfig((1, 8, 8)))
    assert (tmp_path / "s").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_write_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "s"
    for classes in (9, 4):
        student = build_classifier("mlp8", num_classes=classes, input_shape=(1, 8, 8))
        save_student(path, student, architecture="mlp8", num_classes=classes, input=InputConfig((1, 8, 8)))
    assert load_student(path).dfad_metadata.num_classes == 4


def test_weights_that_are_not_those_of_the_named_student(tmp_path: Path) -> None:
    student = build_classifier("mlp8", num_classes=4, input_shape=(1, 8, 8))
    save_student(tmp_path / "s", student, architecture="cnn8", num_classes=4, input=InputConfig((1, 8, 8)))
    with pytest.raises(TeacherRejected) as caught:
        load_student(tmp_path / "s")
    assert caught.value.code == "architecture_mismatch"


def test_a_state_dict_is_no_student(tmp_path: Path) -> None:
    torch.save(build_classifier("mlp8", num_classes=4, input_shape=(1, 8, 8)).state_dict(), tmp_path / "s")
    with pytest.raises(TeacherRejected) as caught:
        load_student(tmp_path / "s")
    assert caught.value.code == "unsupported_format"
