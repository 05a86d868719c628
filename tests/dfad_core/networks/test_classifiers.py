"""The catalogue's networks: published sizes, shapes, gradients."""

import subprocess
import sys

import pytest
import torch

from dfad_core.contract.architectures import ARCHITECTURES
from dfad_core.contract.errors import ConfigError, ShapeError
from dfad_core.networks import build_classifier

# Parameters for 10 classes at the default input, with the place they are published at.
PUBLISHED = {
    "lenet5": 61_706,  # LeCun et al. 1998, fully connected C3 and C5
    "lenet5_half": 15_738,  # Chen et al. 2019 (DAFL): 3, 8, 60 channels and 42 units
    "resnet8": 75_290,  # He et al. 2016: 0.08 M by 6n + 2 layers, shortcuts A
    "resnet20": 269_722,  # He et al. 2016, table 6: 0.27 M
    "resnet32": 464_154,  # 0.46 M
    "resnet56": 853_018,  # 0.85 M
    "resnet18": 11_173_962,  # 3x3 stem: 11.17 M
    "resnet34": 21_282_122,  # 21.28 M
    "wrn_16_1": 175_066,  # Zagoruyko and Komodakis 2016: 0.17 M
    "wrn_16_2": 691_674,  # 0.69 M
    "wrn_40_1": 563_930,  # table 4: 0.56 M
    "wrn_40_2": 2_243_546,  # 2.2 M
    "vgg11_bn": 9_231_114,  # eight convolutions with BN and one linear head: 9.23 M
    "mobilenet_v2": 2_296_922,  # 2.30 M
    "mlp8": 8_970,
    "cnn8": 23_590,
}


def build(name: str, **changes: object) -> torch.nn.Module:
    given = {"num_classes": 10, "input_shape": ARCHITECTURES[name].input_shape, **changes}
    return build_classifier(name, **given)


def test_table_covers_the_catalogue() -> None:
    """Names with a colon are those of libraries; test_imagenet.py has them."""
    assert set(PUBLISHED) == {name for name in ARCHITECTURES if ":" not in name}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_parameters_are_the_published_ones(name: str) -> None:
    with torch.device("meta"):
        network = build(name)
    assert sum(p.numel() for p in network.parameters()) == PUBLISHED[name]


@pytest.mark.parametrize("name", sorted(set(PUBLISHED) - {"resnet34", "wrn_40_2", "resnet56"}))
def test_logits_and_gradients(name: str) -> None:
    torch.manual_seed(0)
    network = build(name, num_classes=7)
    x = torch.randn(2, *ARCHITECTURES[name].input_shape, requires_grad=True)
    logits = network(x)
    assert logits.shape == (2, 7)
    logits.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["resnet20", "resnet18", "wrn_16_1", "mobilenet_v2", "vgg11_bn"])
def test_other_sizes_and_channels(name: str) -> None:
    network = build(name, input_shape=(4, 40, 32)).eval()
    assert network(torch.randn(1, 4, 40, 32)).shape == (1, 10)


@pytest.mark.parametrize("name", sorted(set(PUBLISHED) - {"resnet34", "wrn_40_2"}))
@pytest.mark.parametrize("channels", [1, 4])
def test_the_smallest_input_trains(name: str, channels: int) -> None:
    side = ARCHITECTURES[name].min_side
    network = build(name, input_shape=(channels, side, side), num_classes=2).train()
    logits = network(torch.randn(2, channels, side, side))
    assert logits.shape == (2, 2)
    assert torch.isfinite(logits).all()
    if side > 8:
        with pytest.raises(ShapeError):
            build(name, input_shape=(channels, side - 1, side - 1))


def test_names_are_those_of_the_public_files() -> None:
    names = set(build("resnet20").state_dict())
    assert {"conv1.weight", "bn1.running_var", "layer3.2.conv2.weight", "linear.bias"} <= names
    assert not any("shortcut" in name for name in names)
    assert {"layer2.0.shortcut.0.weight", "layer2.0.shortcut.1.bias"} <= set(build("resnet18").state_dict())
    assert set(build("lenet5").state_dict()) == {
        f"{layer}.{part}"
        for layer in ("conv1", "conv2", "conv3", "fc1", "fc2")
        for part in ("weight", "bias")
    }


def test_lenet_takes_28_and_32() -> None:
    assert build("lenet5", input_shape=(1, 28, 28))(torch.randn(1, 1, 28, 28)).shape == (1, 10)
    with pytest.raises(ShapeError):
        build("lenet5", input_shape=(1, 30, 30))


@pytest.mark.parametrize(
    "args", [{"width": 0}, {"width": 10**9}, {"width": -1}, {"width": True}, {"depth": 3}]
)
def test_bad_arguments(args: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        build("cnn8", args=args)


def test_unknown_architecture() -> None:
    with pytest.raises(ConfigError) as caught:
        build_classifier("os.system", num_classes=10, input_shape=(1, 8, 8))
    assert caught.value.code == "unknown_architecture"


def test_building_imports_nothing_of_this_package() -> None:
    """A reader of uploaded files builds networks where it can open no file of the package any more."""
    code = (
        "import sys, torch; from dfad_core.networks import build_classifier, ARCHITECTURES\n"
        "before = set(sys.modules)\n"
        "for name, row in ARCHITECTURES.items():\n"
        "    with torch.device('cpu' if row.input_shape[1] < 224 else 'meta'):\n"
        "        build_classifier(name, num_classes=2, input_shape=row.input_shape,"
        " args={'width': 4} if 'width' in row.args else {})\n"
        "sys.exit(sum(m.startswith('dfad_core') for m in set(sys.modules) - before))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
