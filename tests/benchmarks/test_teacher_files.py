"""What is read of public libraries' files: one network in all forms, and the tables."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.engine.teacher_file_rows import (
    is_right,
    library_rows,
    network_rows,
    newest,
    refusal_rows,
    sections,
)
from benchmarks.engine.teacher_networks import CONFIGS, LARGE, transformers_classes
from benchmarks.teacher_files import FORMS, lines_of

RESNET = "transformers:ResNetForImageClassification"


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    pytest.importorskip("transformers")
    pytest.importorskip("onnxscript")
    stamp = {"git_revision": "0" * 40, "git_clean": True}
    return [line | stamp for line in lines_of(RESNET)]


def test_a_network_in_all_its_forms(lines: list[dict[str, Any]]) -> None:
    by_form = {line["form"]: line for line in lines}
    assert set(by_form) == set(FORMS)
    assert [form for form in FORMS if is_right(by_form[form])] == list(FORMS[1:])
    assert by_form["state dict"]["code"] == "architecture_required"
    for form in ("folder", "ONNX by the recipe"):
        line = by_form[form]
        assert line["bn_layers_read"] == line["bn_layers"] > 0
        assert line["parameters_read"] == line["parameters"]
    assert by_form["ONNX"]["bn_layers_read"] == 0


def test_what_takes_no_pixels_is_refused_with_its_reason() -> None:
    pytest.importorskip("transformers")
    folder = next(line for line in lines_of("transformers:ImageGPTForImageClassification")[1:])
    assert (folder["read"], folder["code"]) == (False, "unsupported_architecture")
    assert "colours by their number" in folder["sentence"]


def test_a_small_network_of_each_type_that_transformers_lists() -> None:
    pytest.importorskip("transformers")
    assert {kind for kind, _ in transformers_classes()} == {*CONFIGS, *LARGE}


def test_the_tables(lines: list[dict[str, Any]]) -> None:
    absent = {
        "library": "transformers",
        "network": "X",
        "form": "none",
        "made": False,
        "sentence": "no | such",
    }
    runs = newest([*lines, lines[0] | absent])
    assert [row[:-1] for row in library_rows(runs)[1]] == [
        ("transformers", "0 of 1", "1 of 1", "1 of 1", "1 of 1", "1 of 1", "1 of 1")
    ]
    (row,) = network_rows(runs)[1]
    assert row[:3] == (RESNET.replace(":", ": "), "`architecture_required`", "read BN =")
    assert row[3].startswith("read no BN -")
    assert ("could not be made", "no \\| such", "X") in refusal_rows(runs)[1]
    assert [bool(text) for _, text in sections([*lines, lines[0] | absent])] == [True] * 3
    assert list(sections([])) == []
