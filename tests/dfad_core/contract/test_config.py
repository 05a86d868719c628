"""Settings that cannot run together are refused before anything runs, with the number that would."""

import json
from dataclasses import asdict
from typing import Any

import pytest

from dfad_core.contract.config import DistillConfig, InputConfig, MethodConfig, TrainingConfig
from dfad_core.contract.errors import ConfigError


def test_a_slice_has_two_images_at_least() -> None:
    assert TrainingConfig(batch_size=8, accumulation=4).accumulation == 4
    for slices in (5, 9):
        with pytest.raises(ConfigError, match="at most 4 slices") as caught:
            TrainingConfig(batch_size=8, accumulation=slices)
        assert caught.value.param == "accumulation"


def test_a_pool_past_the_memory_is_refused_with_its_size() -> None:
    images = InputConfig((3, 224, 224))
    with pytest.raises(ConfigError, match=r"14\.4 GiB.* 111 batches fit") as caught:
        DistillConfig(input=images, training=TrainingConfig(pool_batches=400))
    assert caught.value.param == "pool_batches"
    assert DistillConfig(input=images, training=TrainingConfig(pool_batches=111)).max_pool_batches == 111


def test_a_methods_own_pool_is_bounded() -> None:
    config = DistillConfig(input=InputConfig((3, 224, 224)), method=MethodConfig(name="fast"))
    assert config.max_pool_batches == 111
    assert DistillConfig(input=InputConfig((3, 32, 32))).max_pool_batches > 400


def test_an_input_survives_json() -> None:
    source = InputConfig((3, 32, 16), (0.5, 0.4, 0.3), (1, 2, 3))
    assert InputConfig.from_json(json.loads(json.dumps(asdict(source)))) == source
    assert InputConfig.from_json({"shape": [1, 8, 8], "entry of a later version": 1}) == InputConfig(
        (1, 8, 8)
    )


@pytest.mark.parametrize(
    ("data", "param"),
    [
        (None, "input"),
        ([1, 8, 8], "input"),
        ({}, "shape"),
        ({"shape": [1, 8]}, "shape"),
        ({"shape": [1, 8, 8.0]}, "shape"),
        ({"shape": [True, 8, 8]}, "shape"),
        ({"shape": [1, 8, 10**6]}, "shape"),
        ({"shape": [1, 8, 8], "mean": "0"}, "mean"),
        ({"shape": [1, 8, 8], "mean": [10**400]}, "mean"),
        ({"shape": [1, 8, 8], "mean": [float("nan")]}, "mean"),
        ({"shape": [1, 8, 8], "std": [0]}, "std"),
        ({"shape": [1, 8, 8], "std": [True]}, "std"),
        ({"shape": [1, 8, 8], "std": [1, 1]}, "std"),
    ],
)
def test_an_input_that_cannot_be_names_the_entry(data: Any, param: str) -> None:
    with pytest.raises(ConfigError) as error:
        InputConfig.from_json(data)
    assert error.value.param == param
