"""Weights as training scripts store them: with other entries around them, and with more in their names."""

from __future__ import annotations

import argparse
import collections
import datetime
import pathlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from dfad_core.contract.errors import TeacherRejected
from dfad_core.formats import LoadedTeacher, load_teacher
from dfad_core.formats.fitting import MAX_STATE_DICTS
from dfad_core.formats.initial import read_weights
from dfad_core.networks import build_classifier

Wrap = Callable[[dict[str, Tensor]], Any]


def network(seed: int = 0, architecture: str = "cnn8") -> nn.Module:
    torch.manual_seed(seed)
    return build_classifier(architecture, num_classes=3, input_shape=(1, 8, 8), args={"width": 2}).eval()


def state(seed: int = 0, architecture: str = "cnn8") -> dict[str, Tensor]:
    return dict(network(seed, architecture).state_dict())


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def read(path: Path, value: Any, **named: Any) -> LoadedTeacher:
    torch.save(value, path)
    return load_teacher(path, **named)


def refused(path: Path, value: Any, **named: Any) -> TeacherRejected:
    with pytest.raises(TeacherRejected) as caught:
        read(path, value, **named)
    return caught.value


def assert_is(teacher: LoadedTeacher, tensors: dict[str, Tensor]) -> None:
    loaded = teacher.module.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize(
    "wrap",
    [
        *(
            lambda s, prefix=prefix: under(prefix, s)
            for prefix in ("net.", "backbone.", "architecture.", "module.student.", "_fsdp_wrapped_module.")
        ),
        lambda s: {n.replace("conv2.", "conv2._checkpoint_wrapped_module."): t for n, t in s.items()},
        lambda s: AveragedModel(network()).state_dict(),
        lambda s: {"state_dict": {**under("model.", s), "criterion.weight": torch.ones(3)}},
        lambda s: {"state_dict": {**under("model.", s), "val_metrics.confmat": torch.zeros(3, 3)}},
        lambda s: {"state_dict": {**s, "total_ops": torch.ones(1), "conv1.total_params": torch.ones(1)}},
        lambda s: {"state_dict": {**under("net.", s), "temperature": torch.ones(())}},
        *(
            lambda s, key=key: {key: s, "epoch": 1}
            for key in ("student", "network", "state_dict_ema", "anything")
        ),
        lambda s: {"trainer": {"ema": {"shadow": under("module.", s)}}},
        lambda s: [s, {"lr": 0.1}],
        lambda s: {"model": s, "best": {n: t.clone() for n, t in s.items()}},
        lambda s: {"model": s, "optimizer": {"state": {0: {"exp_avg": torch.zeros(4, 4)}}}},
        lambda s: {"model": s, "optimizer": {"state": {"conv1.weight": {"exp_avg": torch.zeros(4, 4)}}}},
    ],
)  # fmt: skip
@pytest.mark.parametrize("named", [None, "cnn8"])
def test_read_without_a_hint(tmp_path: Path, wrap: Wrap, named: str | None) -> None:
    teacher = read(tmp_path / "x", wrap(state()), architecture=named)
    assert (teacher.architecture, teacher.args, teacher.num_classes) == ("cnn8", {"width": 2}, 3)
    assert_is(teacher, state())


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    stored = {"state_dict": {**under("model.", state()), "criterion.weight": torch.ones(3)}, "best": 0.9}
    notes = read(tmp_path / "x", stored).notes
    assert "read the weights under 'state_dict.model'" in notes
    assert "left out criterion.weight" in notes
    assert "left out entries that are no weights: best" in notes


@pytest.mark.parametrize(
    ("stored", "places"),
    [
        ({"state_dict": state(), "state_dict_ema": state(1)}, ("state_dict", "state_dict_ema")),
        ({**under("net.", state()), **under("ema.module.", state(1))}, ("net", "ema.module")),
        ({"student": state(), "teacher": state(1, "mlp8")}, ("student", "teacher")),
    ],
)
def test_several_that_fit_are_a_choice(tmp_path: Path, stored: Any, places: tuple[str, str]) -> None:
    error = refused(tmp_path / "x", stored)
    assert (error.code, error.param) == ("weights_required", "weights")
    assert all(f"{place} (" in error.message for place in places)
    other = stored["teacher"] if "teacher" in stored else state(1)
    assert_is(read(tmp_path / "x", stored, weights=places[0]), state())
    assert_is(read(tmp_path / "x", stored, weights=places[1]), other)
    assert_is(read(tmp_path / "x", stored, weights=places[1].partition(".")[0]), other)
    error = refused(tmp_path / "x", stored, weights="nothing")
    assert error.code == "weights_unknown"
    assert places[0] in error.message


def test_layers_beside_a_backbone_are_not_dropped_in_silence(tmp_path: Path) -> None:
    stored = {**under("backbone.", state()), "head.weight": torch.ones(2, 3)}
    error = refused(tmp_path / "x", stored)
    assert (error.code, error.param) == ("layers_left_over", "weights")
    assert "head.weight" in error.message
    assert_is(read(tmp_path / "x", stored, weights="backbone"), state())
    # The same in a dictionary of its own.
    head = {"weight": torch.ones(2, 3), "bias": torch.ones(2)}
    for kept in ({"backbone": state(), "head": head}, [state(), head]):
        error = refused(tmp_path / "x", kept)
        assert error.code == "layers_left_over"
        name = "backbone" if isinstance(kept, dict) else "0"
        assert f"--weights {name}" in error.message
        assert_is(read(tmp_path / "x", kept, weights=name), state())
    # Inside of the network they are a part of it.
    for more in ({**state(), "head.weight": torch.ones(2, 3)}, {**state(), "conv1.bias": torch.ones(2)}):
        assert refused(tmp_path / "x", more).code == "architecture_required"
        assert refused(tmp_path / "x", {"net": more}, weights="net").code == "architecture_required"


def test_a_layer_that_is_an_array_of_numpy_is_not_dropped_in_silence(tmp_path: Path) -> None:
    stored = {"state_dict": {**under("backbone.", state()), "head.weight": np.ones((2, 3))}}
    error = refused(tmp_path / "x", stored)
    assert (error.code, error.param) == ("unsupported_format", "head.weight")
    assert "torch.from_numpy" in error.message
    assert "torch.from_numpy" in refused(tmp_path / "x", {"conv1.weight": np.ones((2, 1, 3, 3))}).message
    for beside in ({"history": np.ones((9, 2))}, {"state_dict": {"val_metrics.confmat": np.ones((3, 3))}}):
        kept = {**beside, "state_dict": {**state(), **beside.get("state_dict", {})}}
        assert_is(read(tmp_path / "x", kept), state())


def test_two_places_of_one_spelling(tmp_path: Path) -> None:
    error = refused(tmp_path / "x", {"m.e": state(), "m": {"e": state(1)}})
    assert (error.code, "m.e.conv1.weight twice" in error.message) == ("corrupt_file", True)
    assert not any("no weights" in note for note in read(tmp_path / "x", {"m.e": state()}).notes)


def test_the_usual_weights_are_not_replaced_by_others(tmp_path: Path) -> None:
    unknown = {**state(), "conv1.parametrizations.weight.0.strange": torch.ones(2)}
    stored = {"state_dict": unknown, "ema": state(1)}
    assert refused(tmp_path / "x", stored).code == "unsupported_parametrization"
    assert_is(read(tmp_path / "x", stored, weights="ema"), state(1))
    notes = read(tmp_path / "x", {"state_dict": state(), "other": unknown}).notes
    assert any(note.startswith("could not read 'other'") for note in notes)


def test_the_choice_of_a_safetensors_file(tmp_path: Path) -> None:
    save_file({**under("net.", state()), **under("ema.", state(1))}, tmp_path / "x")
    assert_is(load_teacher(tmp_path / "x", weights="ema"), state(1))
    with pytest.raises(TeacherRejected, match="ema"):
        load_teacher(tmp_path / "x")


@pytest.mark.parametrize(
    "beside",
    [
        np.float64(0.93), np.bool_(True), np.arange(3), np.array(["a"]), argparse.Namespace(lr=1),
        pathlib.Path("x"), collections.defaultdict(list, {"a": [1]}), datetime.datetime(2024, 1, 1),
        datetime.timedelta(1), torch.__version__, range(3),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
@pytest.mark.parametrize("zipped", [True, False])
def test_harmless_things_beside_the_weights(tmp_path: Path, beside: Any, zipped: bool) -> None:
    stored = {"state_dict": {**state(), "note": beside}, "best": beside}
    torch.save(stored, tmp_path / "x", _use_new_zipfile_serialization=zipped)
    assert_is(load_teacher(tmp_path / "x"), state())


def test_more_dictionaries_than_a_checkpoint_has(tmp_path: Path) -> None:
    many = {f"d{number}": {"w": torch.ones(1)} for number in range(MAX_STATE_DICTS + 1)}
    assert refused(tmp_path / "x", many).code == "structure_limit"


def test_two_names_that_become_one(tmp_path: Path) -> None:
    stored = {**state(), "_orig_mod.conv1.weight": torch.ones(2, 1, 3, 3)}
    assert refused(tmp_path / "x", stored).code == "corrupt_file"


def test_initial_weights_are_the_usual_ones(tmp_path: Path) -> None:
    torch.save({"ema": state(1), "state_dict": under("module.", state()), "epoch": 1}, tmp_path / "x")
    weights = read_weights(tmp_path / "x")
    assert all(torch.equal(weights[name], tensor) for name, tensor in state().items())
