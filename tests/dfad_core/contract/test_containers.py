"""The first look at a file: what it is, and that it refuses nothing that a reader would take."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dfad_core.contract.containers import HEAD_BYTES, container_of, unknown_container
from dfad_core.contract.errors import TeacherRejected
from dfad_core.formats.detect import detect_format
from tests.hostile.files import CASES

TAR = b"\0" * 257 + b"ustar\x0000"


@pytest.mark.parametrize(
    ("head", "container"),
    [
        (b"PK\x03\x04", "zip"),
        (TAR, "tar"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"\x10\0\0\0\0\0\0\0{}", "safetensors"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02", "legacy_torch"),
        (b"\x08\x07\x12", "onnx"),
        (b"\x80\x04\x95", "pickle"),
        (b"", None),
        (b"{}", None),
        (b"\x10\0\0\0\0\0\0\0[", None),
        (b"\x89PNG\r\n\x1a\n" + bytes(504), None),
    ],
)
def test_containers(head: bytes, container: str | None) -> None:
    assert container_of(head) == container


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"# A readme\n\nof some length\n", "The file is text, not a safetensors file"),
        ("größer".encode()[:3], "text"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        (b"\n<!DOCTYPE HTML><title>x</title>", "web page"),
        (b"\x89PNG\r\n\x1a\n", "a PNG image"),
        (b"\xff\xd8\xff\xe0", "a JPEG image"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"\x89HDF\r\n\x1a\n", "ONNX"),
        (b"\x1c\0\0\0TFL3" + bytes(40), "TensorFlow Lite model (export the network to ONNX"),
        (b"RIFF\0\0\0\0WAVEfmt ", "a sound"),
        (b"\xfd7zXZ\0", "unpack"),
        (bytes(range(200, 256)), "The file is not a safetensors file"),
        (b"\0" * 40, "The file is not a safetensors file"),
    ],
)
def test_what_is_said_of_others(head: bytes, words: str) -> None:
    error = unknown_container(head)
    assert (error.code, words in error.message) == ("unsupported_format", True), error.message


@pytest.mark.parametrize("name", CASES)
def test_the_first_look_refuses_what_the_reader_refuses_and_nothing_else(name, tmp_path) -> None:
    make, _ = CASES[name]
    content = make(tmp_path)
    (tmp_path / "x").write_bytes(content)
    unknown = container_of(content[:HEAD_BYTES]) is None
    try:
        detect_format(tmp_path / "x")
        refused = False
    except TeacherRejected as error:
        # An archive of something else has the same code, and only its entries tell.
        refused = error.code == "unsupported_format" and not content.startswith(b"PK")
    assert unknown == refused


def test_it_needs_no_torch() -> None:
    text = "import sys, dfad_core.contract.containers; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", text], check=True)
