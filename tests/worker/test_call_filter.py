"""The numbers of system calls are those of the kernel's own tables, and the filter is a whole program."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from worker.call_filter import program
from worker.system_calls import ABSENT, ALLOWED, ARCHITECTURES, BY_ARGUMENT, numbers

HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
DEFINED = re.compile(r"#define __NR(?:3264)?_(\w+)\s+(\d+)$", re.MULTILINE)
CALLED = {"newfstatat": "fstatat"}
"""Names of aarch64 as the common table has them."""


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_numbers_are_the_kernels(machine: str) -> None:
    header = HEADERS[machine]
    if not header.exists():
        pytest.skip(f"{header} is not installed")
    told = {name: int(number) for name, number in DEFINED.findall(header.read_text())}
    for table in (ALLOWED, BY_ARGUMENT, ABSENT):
        for name, number in numbers(table, machine).items():
            assert told.get(name, told.get(CALLED.get(name, ""))) == number, name


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_no_call_is_named_twice_and_no_jump_leaves_the_program(machine: str) -> None:
    named = [*numbers(ALLOWED, machine), *numbers(BY_ARGUMENT, machine), *numbers(ABSENT, machine)]
    assert len(named) == len(set(named))
    steps = list(struct.iter_unpack("=HBBI", program(machine)))
    for place, (_, yes, no, _k) in enumerate(steps):
        assert place + 1 + max(yes, no) < len(steps) or yes == no == 0
    assert len(steps) < 4096, "the most that the kernel takes"
