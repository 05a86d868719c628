"""The seccomp filter of the process that reads a foreign file: which system calls it can make."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import struct

from worker.system_calls import ABSENT, ALLOWED, BY_ARGUMENT, NEWEST, numbers

_LIBC = ctypes.CDLL(None, use_errno=True)
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2

_LOAD, _EQUAL, _GREATER, _AND, _GIVE = 0x20, 0x15, 0x25, 0x54, 0x06
_NUMBER_AT, _ARCH_AT = 0, 4
_ALLOW, _KILL, _FAIL = 0x7FFF0000, 0x80000000, 0x00050000

_THREAD_FLAGS = (0x003D0F00, 0x007D0F00)
"""Of clone, as the C libraries start a thread; any other is another process or a namespace."""
_COMMANDS = (0, 1, 2, 3, 4, 1030)
"""Of fcntl: copies and flags. The others send signals, lease files from others or enlarge pipes."""
_QUESTIONS = (0x5401, 0x5413, 0x5450, 0x5451, 0x541B)
"""Of ioctl: whether it is a terminal, its size, close-on-exec, and how much can be read."""
_OPTIONS = (3, 15, 16, 0x53564D41)
"""Of prctl: the name of a thread and of memory. Not: to outlive the parent."""
_TRUNCATES = 0o1000
_ACCESS = 0o3


def _step(code: int, k: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, k)


def _argument(position: int) -> bytes:
    """Loads the low half of an argument; the kernel takes those that are looked at here as 32 bits."""
    return _step(_LOAD, 16 + 8 * position)


def _one_of(values: tuple[int, ...], position: int, otherwise: int) -> list[bytes]:
    found = [piece for value in values for piece in (_step(_EQUAL, value, 0, 1), _step(_GIVE, _ALLOW))]
    return [_argument(position), *found, _step(_GIVE, _FAIL | otherwise)]


def _no_hidden_truncation(position: int) -> list[bytes]:
    """A file that is opened for reading and emptied by that: before its third version Landlock allows it."""
    checks = [_argument(position), _step(_AND, _TRUNCATES | _ACCESS), _step(_EQUAL, _TRUNCATES, 0, 1)]
    return [*checks, _step(_GIVE, _FAIL | errno.EACCES), _step(_GIVE, _ALLOW)]


def _abort_itself() -> list[bytes]:
    own = [_argument(0), _step(_EQUAL, os.getpid(), 0, 3)]
    return [*own, _argument(2), _step(_EQUAL, signal.SIGABRT, 0, 1), _step(_GIVE, _ALLOW), _refuse()]


def _refuse() -> bytes:
    return _step(_GIVE, _FAIL | errno.EPERM)


def _by_argument() -> dict[str, list[bytes]]:
    """The steps for each call of BY_ARGUMENT, in this process."""
    return {
        "clone": _one_of(_THREAD_FLAGS, 0, errno.EPERM),
        "fcntl": _one_of(_COMMANDS, 1, errno.EPERM),
        "ioctl": _one_of(_QUESTIONS, 1, errno.ENOTTY),
        "open": _no_hidden_truncation(1),
        "openat": _no_hidden_truncation(2),
        "prctl": _one_of(_OPTIONS, 0, errno.EPERM),
        "prlimit64": _one_of((0,), 0, errno.EPERM),
        "tgkill": _abort_itself(),
    }


def program(machine: str) -> bytes:
    """The filter in classic BPF, for this process and a machine of `system_calls.ARCHITECTURES`."""
    steps = [_step(_LOAD, _ARCH_AT), _step(_EQUAL, _AUDIT[machine], 1, 0), _step(_GIVE, _KILL)]
    steps += [_step(_LOAD, _NUMBER_AT)]
    # Numbers of the x32 ABI are another way to the same calls.
    steps += [_step(0x35, 0x40000000, 0, 1), _step(_GIVE, _KILL)]
    steps += [_step(_GREATER, NEWEST, 0, 1), _step(_GIVE, _FAIL | errno.ENOSYS)]
    for number in numbers(ALLOWED, machine).values():
        steps += [_step(_EQUAL, number, 0, 1), _step(_GIVE, _ALLOW)]
    checks = _by_argument()
    for name, number in numbers(BY_ARGUMENT, machine).items():
        steps += [_step(_EQUAL, number, 0, len(checks[name])), *checks[name]]
    for number in numbers(ABSENT, machine).values():
        steps += [_step(_EQUAL, number, 0, 1), _step(_GIVE, _FAIL | errno.ENOSYS)]
    return b"".join([*steps, _refuse()])


def refuse_calls() -> bool:
    """Put the filter on this process, for good; it cannot be taken off. False where there is none."""
    machine = platform.machine()
    if machine not in _AUDIT:
        return False
    steps = program(machine)
    code = ctypes.create_string_buffer(steps, len(steps))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    filter = Program(len(steps) // 8, ctypes.cast(code, ctypes.c_void_p))
    return bool(_LIBC.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(filter), 0, 0) == 0)
