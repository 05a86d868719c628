"""Results to JSON and back, and documents that earlier versions have written."""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter

from dfad_core.contract.config import InputConfig
from dfad_core.contract.inspection import Inspection
from dfad_core.contract.job_result import ExportResult, JobResult
from dfad_core.contract.serialization import from_json, to_json

RESULT: dict[str, Any] = {
    "teacher": {
        "architecture": "cnn8",
        "parameters": 9,
        "bytes": 36,
        "macs": 5,
        "latency_milliseconds": None,
    },
    "student": {
        "architecture": "mlp8",
        "parameters": 3,
        "bytes": 12,
        "macs": 2,
        "latency_milliseconds": {"1": 2.0},
    },
    "compression": 3.0,
    "training": {
        "method": "best",
        "weights": {"bn_weight": 1.0, "same_batch": False, "source": "noise"},
        "steps": 7,
        "seconds": 1.5,
        "device": "cpu",
        "precision": "float32",
        "threads": 2,
        "threads_changed": False,
        "seed": 0,
        "complete": True,
    },
    "fidelity": {"agreement_drawn": 0.5},
    "prediction": {
        "relative_accuracy": 0.9,
        "low": 0.8,
        "high": 0.95,
        "level": 0.9,
        "coverage": 0.91,
        "jobs": 200,
        "teachers": 13,
        "images": 1024,
        "reason": None,
    },
    "evaluation": {
        "images": 64,
        "measured": {"noise": 64},
        "seconds": 1.0,
        "bound_seconds": 60.0,
        "complete": True,
    },
    "accuracy": {
        "teacher": 0.9,
        "student": 0.8,
        "images": 10,
        "data": "mine",
        "notes": ["a"],
        "exports": {"onnx": 0.8},
    },
    "class_histogram": [1, 2],
    "class_names": ["cat", "dog"],
    "usable": True,
    "unusable_reason": None,
    "exports": {"onnx": {"bytes": 5, "opset": 18, "max_difference": 0.0}, "pt2": {"error": "no"}},
    "student_chosen": {
        "architecture": "mlp8",
        "args": {"width": 3},
        "cost": {"parameters": 3, "bytes": 12, "macs": 2},
    },
    "resources": {"peak_memory_bytes": 1, "gpu_peak_memory_bytes": None, "teacher_queries": 5.0},
    "events": [{"kind": "threads_chosen", "step": 0, "level": "info", "threads": 2}],
    "versions": {"dfad": "0.1.0"},
}


def test_a_whole_result_comes_back_as_it_was() -> None:
    assert to_json(from_json(JobResult, RESULT)) == RESULT


def test_what_a_job_does_not_have_is_left_out_where_it_always_was() -> None:
    written = to_json(from_json(JobResult, {}))
    assert written.keys().isdisjoint({"student_chosen", "student_init", "evaluations"})
    assert written["accuracy"] is None
    assert to_json(ExportResult(error="no")) == {"error": "no"}


def test_a_result_of_an_earlier_version_can_be_read() -> None:
    """Entries of then, entries that are missing, and values of other types."""
    old = {
        **RESULT,
        "movers": {"a": 1},
        "evaluation": {},
        "class_histogram": "many",
        "training": {"method": "best", "steps": "seven", "speed": 3},
    }
    del old["resources"]
    result = from_json(JobResult, old)
    assert (result.evaluation, result.class_histogram, result.resources) == (None, None, None)
    assert (result.training.method, result.training.steps, result.training.threads) == ("best", 0, None)
    assert result.student.parameters == 3


def test_an_input_that_cannot_be_is_none() -> None:
    report = from_json(Inspection, {"input": {"shape": [0, 8, 8]}, "num_classes": 3})
    assert (report.input, report.num_classes) == (None, 3)
    fine = from_json(Inspection, {"input": {"shape": [1, 8, 8], "mean": None, "std": [1]}})
    assert fine.input == InputConfig((1, 8, 8), std=(1.0,))


def test_a_service_writes_the_same_json_and_describes_each_field() -> None:
    adapter = TypeAdapter(JobResult)
    result = from_json(JobResult, RESULT)
    assert json.loads(adapter.dump_json(result)) == RESULT
    schema = adapter.json_schema(mode="serialization")
    assert schema["properties"]["accuracy"]["anyOf"][0] == {"$ref": "#/$defs/Accuracy"}
    assert {"teacher", "student", "compression", "training"} == set(schema["required"])
    assert "description" in schema["properties"]["fidelity"]
