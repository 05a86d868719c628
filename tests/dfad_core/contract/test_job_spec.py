"""A job's spec, read from the JSON that the service stores."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dfad_core.contract.config import BudgetConfig, InputConfig, MethodConfig, TargetConfig, TrainingConfig
from dfad_core.contract.errors import ConfigError
from dfad_core.contract.job_spec import JobSpec, StudentSpec, TeacherSpec

LAYERS = [{"type": "flatten"}, {"type": "linear"}]


@pytest.mark.parametrize(
    "student",
    [
        StudentSpec("mlp8", {"width": 8}),
        StudentSpec(layers=LAYERS),
        StudentSpec(transformers={"model_type": "resnet", "depths": [1, 1]}),
        StudentSpec(target=TargetConfig(max_parameters=1000)),
    ],
)
def test_a_spec_survives_json(student: StudentSpec) -> None:
    spec = JobSpec(
        student,
        TeacherSpec("onnx", None, {}, 7, InputConfig((3, 32, 32), (0.5, 0.5, 0.5), (1.0, 1.0, 1.0))),
        MethodConfig(name="dafl", bn_weight=2.0),
        BudgetConfig(steps=3, train_seconds=4.5),
        TrainingConfig(batch_size=16, precision="float32"),
        ("onnx", "int8"),
        "cpu",
        5,
    )
    assert JobSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_what_the_service_knows_beside_is_ignored() -> None:
    data = {
        "student": {"architecture": "mlp8", "init_from": {"upload_id": "up_1"}},
        "metadata": {"team": "vision"},
        "priority": 3,
    }
    assert JobSpec.from_json(data) == JobSpec(StudentSpec("mlp8"))


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        ({"student": None}, "invalid_config", "student"),
        ({"student": {}}, "invalid_config", "student"),
        ({"student": {"architecture": "mlp8", "layers": LAYERS}}, "invalid_config", "student"),
        ({"student": {"layers": LAYERS, "args": {"width": 3}}}, "invalid_config", "student.args"),
        ({"student": {"architecture": "nope"}}, "unknown_architecture", "architecture"),
        ({"student": {"architecture": "mlp8", "args": {"depth": 3}}}, "invalid_config", "depth"),
        ({"student": {"layers": [{"type": "nope"}]}}, "invalid_config", "layers.0.type"),
        ({"student": {"transformers": {"model_type": "nope"}}}, "unknown_architecture", "model_type"),
        ({"student": {"target": {"max_price": 3}}}, "invalid_config", "student.target"),
        ({"teacher": {"input": {"shape": [1]}}}, "invalid_config", "shape"),
        ({"budget": {"rounds": 3}}, "invalid_config", "budget"),
        ({"budget": {"steps": 0}}, "invalid_config", "steps"),
        ({"device": "tpu"}, "invalid_config", "device"),
    ],
)
def test_a_spec_that_cannot_be_is_refused(changes: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(ConfigError) as error:
        JobSpec.from_json({"student": {"architecture": "mlp8"}, **changes})
    assert (error.value.code, error.value.param) == (code, param)
