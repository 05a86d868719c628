"""The catalogue of networks: what a row promises about its family, and that it needs no torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dfad_core.contract.architectures import ARCHITECTURES, get_architecture
from dfad_core.contract.errors import ConfigError


def test_it_needs_no_torch() -> None:
    text = "import sys, dfad_core.contract.architectures; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", text], check=True)


def test_every_architecture_has_a_family_and_a_default_input_that_fits() -> None:
    for row in ARCHITECTURES.values():
        assert row.family, row.name
        row.check_input(row.input_shape)


def test_within_a_family_of_one_width_ranks_differ() -> None:
    """Otherwise students and teacher could be each other's."""
    fixed = [(row.family, row.rank) for row in ARCHITECTURES.values() if "width" not in row.args]
    assert len(set(fixed)) == len(fixed)


@pytest.mark.parametrize("name", ["timm:../x", "timm:", "timm:a b", "dfad_core.networks:x", "os.system"])
def test_a_name_reaches_no_other_import(name: str) -> None:
    with pytest.raises(ConfigError) as refused:
        get_architecture(name)
    assert refused.value.code == "unknown_architecture"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("mobilenet_v3_small", "torchvision:mobilenet_v3_small"),
        ("ResNet-18", "resnet18"),
        ("wrn16_1", "wrn_16_1"),
        ("nothing-like-it", None),
        ("x" * 100_000, None),
    ],
)
def test_an_unknown_name_is_answered_with_those_that_are_near(name: str, meant: str | None) -> None:
    with pytest.raises(ConfigError) as refused:
        get_architecture(name)
    assert ("did you mean" in refused.value.message) == (meant is not None)
    assert meant is None or meant in refused.value.message
