"""What is read off the weights alone: architecture, width, channels, classes."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dfad_core.contract.architectures import ARCHITECTURES
from dfad_core.contract.config import InputConfig
from dfad_core.contract.errors import TeacherRejected
from dfad_core.formats import load_teacher
from dfad_core.formats.match import build_meta, default_shape, fitting_args, head_classes
from dfad_core.networks import build_classifier


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
@pytest.mark.parametrize("ordered", ["as built", "by name"])
def test_every_architecture_is_told_from_its_weights(name: str, ordered: str) -> None:
    entry = ARCHITECTURES[name]
    channels = 2 if name != "mlp8" else 1
    state = build_meta(name, 7, (channels, *entry.input_shape[1:]), {}).state_dict()
    tensors = dict(sorted(state.items())) if ordered == "by name" else state
    fitting = [
        row.name for row in ARCHITECTURES.values() if fitting_args(row, tensors, None, None) is not None
    ]
    assert fitting == [name]
    assert head_classes(entry, tensors) == 7
    assert default_shape(entry, tensors) == (channels, *entry.input_shape[1:])


def test_a_file_sorted_by_name_whose_stem_is_not_the_first(tmp_path: Path) -> None:
    network = build_classifier("wrn_16_1", num_classes=5, input_shape=(1, 16, 24)).eval()
    save_file(network.state_dict(), tmp_path / "x")
    teacher = load_teacher(tmp_path / "x", input=InputConfig((1, 16, 24)))
    assert (teacher.architecture, teacher.num_classes) == ("wrn_16_1", 5)
    x = torch.randn(2, 1, 16, 24)
    torch.testing.assert_close(teacher.module(x), network(x))


def test_widths_are_read_off(tmp_path: Path) -> None:
    for name in ("cnn8", "mlp8"):
        network = build_classifier(name, num_classes=3, input_shape=(1, 8, 8), args={"width": 5})
        save_file(network.state_dict(), tmp_path / name)
        for named in (None, name):
            assert load_teacher(tmp_path / name, architecture=named).args == {"width": 5}


def refused(path: Path, **named: object) -> TeacherRejected:
    with pytest.raises(TeacherRejected) as caught:
        load_teacher(path, **named)
    return caught.value


def test_wrong_number_of_classes(tmp_path: Path) -> None:
    save_file(build_classifier("cnn8", num_classes=10, input_shape=(1, 8, 8)).state_dict(), tmp_path / "x")
    error = refused(tmp_path / "x", architecture="cnn8", num_classes=12)
    assert error.code == "architecture_mismatch"
    assert "linear.bias [10] instead of [12]" in error.message
    # Nothing of the catalogue has these weights and 12 classes.
    assert refused(tmp_path / "x", num_classes=12).code == "architecture_required"


def test_wrong_input(tmp_path: Path) -> None:
    save_file(build_classifier("cnn8", num_classes=10, input_shape=(1, 8, 8)).state_dict(), tmp_path / "x")
    error = refused(tmp_path / "x", architecture="cnn8", input=InputConfig((3, 8, 8)))
    assert "conv1.weight [20, 1, 3, 3] instead of [20, 3, 3, 3]" in error.message
    save_file(
        build_classifier("lenet5", num_classes=10, input_shape=(1, 32, 32)).state_dict(), tmp_path / "x"
    )
    error = refused(tmp_path / "x", architecture="lenet5", input=InputConfig((1, 30, 30)))
    assert (error.code, error.param) == ("architecture_mismatch", "shape")


@pytest.mark.parametrize("shape", [(10**12, 0), (0, 0), (2**62, 0)])
def test_a_giant_of_no_elements_asks_for_no_memory(tmp_path: Path, shape: tuple[int, int]) -> None:
    state = build_classifier("mlp8", num_classes=3, input_shape=(1, 8, 8), args={"width": 2}).state_dict()
    torch.save({**state, "fc3.weight": torch.empty(shape)}, tmp_path / "x")
    giant = max(shape) > 0
    assert refused(tmp_path / "x", architecture="mlp8").code == (
        "tensor_layout" if giant else "architecture_mismatch"
    )
    assert refused(tmp_path / "x").code == ("tensor_layout" if giant else "architecture_required")


def test_channels_that_no_image_has(tmp_path: Path) -> None:
    state = build_classifier("cnn8", num_classes=3, input_shape=(1, 8, 8)).state_dict()
    torch.save({**state, "conv1.weight": torch.zeros(20, 9, 3, 3)}, tmp_path / "x")
    assert refused(tmp_path / "x", architecture="cnn8").code == "architecture_mismatch"


def test_what_fits_nothing_is_told_what_is_closest(tmp_path: Path) -> None:
    state = dict(build_classifier("resnet20", num_classes=10, input_shape=(3, 32, 32)).state_dict())
    del state["layer3.2.conv2.weight"]
    save_file(state, tmp_path / "t.safetensors")
    with pytest.raises(TeacherRejected) as refused:
        load_teacher(tmp_path / "t.safetensors")
    assert refused.value.code == "architecture_required"
    closest = refused.value.message.partition("The closest: ")[2]
    assert closest.startswith("resnet20 (missing: layer3.2.conv2.weight)")
    assert "resnet32" in closest
