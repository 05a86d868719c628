"""The catalogue of formats: what a row promises, and that it needs no torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dfad_core.contract.containers import container_of
from dfad_core.contract.formats import DEFAULT, EXPORTS, FORMATS, STUDENT_FORMATS, TEACHER_FORMATS, accepted
from dfad_core.formats import interface


def test_it_needs_no_torch() -> None:
    text = "import sys, dfad_core.contract.formats; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", text], check=True)


def test_every_student_has_a_file_name_of_its_own() -> None:
    suffixes = [FORMATS[name].suffix for name in STUDENT_FORMATS]
    assert all(suffix.startswith(".") for suffix in suffixes)
    assert len(set(suffixes)) == len(suffixes)
    assert STUDENT_FORMATS[0] == DEFAULT
    assert DEFAULT not in EXPORTS


@pytest.mark.parametrize("name", FORMATS)
def test_the_file_of_a_format_has_what_its_row_promises(name: str) -> None:
    row = FORMATS[name]
    promised: list[str] = []
    if row.reads:
        promised += ["recognises", "load", "read_tensors" if row.tensors_only else "rebuild"]
        assert row.begins is not None or row.containers, "a way to be recognised"
        module: object = interface.reader(name)
    if name in EXPORTS:
        promised += ["write"]
        module = interface.writer(name)
    assert all(callable(getattr(module, function)) for function in promised)
    assert all(FORMATS[needed].writes for needed in row.needs)


def test_state_dicts_are_looked_at_last_among_zip_archives() -> None:
    """Their reader refuses every zip archive that no format before it recognised."""
    zipped = [name for name, row in FORMATS.items() if "zip" in row.containers]
    assert zipped[-1] == "state_dict_pt"


def test_a_sentence_names_every_format_of_teachers() -> None:
    assert all(FORMATS[name].title in accepted() for name in TEACHER_FORMATS)
    assert " or " in accepted()


@pytest.mark.parametrize("head", [b"", b"\x08", b"\x10\0\0\0\0\0\0\0{", b"\x08\x40\x12", b"\x08\x02\x12"])
def test_first_bytes_that_are_too_few_or_wrong(head: bytes) -> None:
    assert container_of(head) is None


def test_reading_imports_nothing_of_this_package() -> None:
    """A reader of uploaded files works where it can open no file of the package any more."""
    code = (
        "import sys, dfad_core.formats; from dfad_core.contract.formats import FORMATS\n"
        "sys.exit(sum(row.module not in sys.modules for row in FORMATS.values()))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
