"""Pruned, weight-normed and spectral-normed networks: the stored factors give the trained network."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

from dfad_core.contract.errors import TeacherRejected
from dfad_core.formats import load_teacher
from dfad_core.networks import build_classifier

Change = Callable[[nn.Module], Any]


class Mask(nn.Module):
    """As in torch.ao.pruning."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", (weight > 0).float())

    def forward(self, weight: Tensor) -> Tensor:
        return self.mask * weight


class Twice(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


CHANGES: dict[str, Change] = {
    "pruned": lambda m: prune.l1_unstructured(m, "weight", 0.5),
    "spectral norm": spectral_norm,
    "spectral norm, parametrized": parametrizations.spectral_norm,
    "weight norm": weight_norm,
    "weight norm of the whole": lambda m: weight_norm(m, dim=None),
    "weight norm of the inputs": lambda m: weight_norm(m, dim=1),
    "weight norm, parametrized": parametrizations.weight_norm,
    "mask, parametrized": lambda m: parametrize.register_parametrization(m, "weight", Mask(m.weight)),
}


def changed(change: Change) -> nn.Module:
    torch.manual_seed(0)
    network = build_classifier("cnn8", num_classes=3, input_shape=(1, 8, 8), args={"width": 4})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]:
            change(module)
    network(torch.randn(4, 1, 8, 8))  # an iteration of the power method
    return network.eval()


@pytest.mark.parametrize("name", CHANGES)
def test_the_network_is_the_same(tmp_path: Path, name: str) -> None:
    network = changed(CHANGES[name])
    torch.save({"state_dict": {f"net.{n}": t for n, t in network.state_dict().items()}}, tmp_path / "x")
    teacher = load_teacher(tmp_path / "x")
    x_BCHW = torch.randn(5, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(teacher.module(x_BCHW), network(x_BCHW))
    assert any(note.startswith("multiplied out") for note in teacher.notes)


def shorter(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {n: t[:1] if n == name else t for n, t in state.items()}


@pytest.mark.parametrize(
    ("change", "spoil"),
    [
        (lambda m: parametrize.register_parametrization(m, "weight", Twice()), copy.copy),
        (CHANGES["pruned"], lambda s: shorter(s, "conv2.weight_mask")),
        (CHANGES["spectral norm"], lambda s: shorter(s, "conv2.weight_u")),
        (CHANGES["weight norm"], lambda s: {**s, "conv2.weight_g": torch.ones(7, 1, 1, 1)}),
        (CHANGES["weight norm"], lambda s: {**s, "conv2.weight_g": torch.ones(4, dtype=torch.int64)}),
    ],
)
def test_other_factors_are_refused_with_what_to_do(
    tmp_path: Path, change: Change, spoil: Callable[[dict[str, Tensor]], dict[str, Tensor]]
) -> None:
    torch.save(spoil(dict(changed(change).state_dict())), tmp_path / "x")
    with pytest.raises(TeacherRejected, match="remove_parametrizations") as caught:
        load_teacher(tmp_path / "x", architecture="cnn8")
    assert caught.value.code == "unsupported_parametrization"


def test_factors_of_one_storage_do_not_multiply(tmp_path: Path) -> None:
    g, v = torch.ones(64, 1), torch.ones(64, 64)
    torch.save(
        {f"{n}.weight_{part}": x for n in range(9) for part, x in (("g", g), ("v", v))}, tmp_path / "x"
    )
    with pytest.raises(TeacherRejected) as caught:
        load_teacher(tmp_path / "x")
    assert caught.value.code == "structure_limit"


def test_a_factor_of_one_value_claims_no_memory(tmp_path: Path) -> None:
    state = dict(changed(CHANGES["pruned"]).state_dict())
    giant = torch.zeros(1).expand(10**6, 10**6)
    torch.save({**state, "conv1.weight_orig": giant, "conv1.weight_mask": giant}, tmp_path / "x")
    with pytest.raises(TeacherRejected) as caught:
        load_teacher(tmp_path / "x", architecture="cnn8")
    assert caught.value.code == "tensor_layout"
