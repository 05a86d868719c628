"""Stands in for a container: `python container.py WRITABLE... -- COMMAND...` runs the command so that it, and
all that it starts, writes beneath the named folders only (Landlock), makes no namespaces, as containers by
default may not (seccomp), and cannot gain privileges.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_CREATE, _ADD, _RESTRICT = 444, 445, 446
_WRITES = 0b1111111110010
"""Writing files, removing and making files and folders."""
_REFER = 1 << 13
"""Moving between folders; from the kernel's second version on."""


def confine(writable: list[str]) -> bool:
    """For this process, for good; False where the kernel has no Landlock."""
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE, None, 0, 1)
    if version < 1:
        return False
    handled = _WRITES | (_REFER if version > 1 else 0)
    rules = ctypes.c_uint64(handled)
    ruleset = libc.syscall(_CREATE, ctypes.byref(rules), 8, 0)
    for folder in (*writable, "/dev", "/proc"):
        rule = (ctypes.c_char * 12)()
        descriptor = os.open(folder, os.O_PATH)
        rule[:] = handled.to_bytes(8, sys.byteorder) + descriptor.to_bytes(4, sys.byteorder)
        if libc.syscall(_ADD, ruleset, 1, rule, 0) != 0:
            return False
        os.close(descriptor)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return bool(libc.syscall(_RESTRICT, ruleset, 0) == 0)


def no_namespaces() -> bool:
    """`unshare` fails with EPERM; False on a processor whose numbers are not known here."""
    number = {"x86_64": 272, "aarch64": 97}.get(platform.machine())
    if number is None:
        return False
    steps = (
        (0x20, 0, 0, 0),
        (0x15, 0, 1, number),
        (0x06, 0, 0, 0x00050000 | errno.EPERM),
        (0x06, 0, 0, 0x7FFF0000),
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    given = struct.pack("@HP", len(steps), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return bool(libc.prctl(_PR_SET_SECCOMP, 2, given, 0, 0) == 0)


if __name__ == "__main__":
    at = sys.argv.index("--")
    if not confine(sys.argv[1:at]):
        print("this kernel has no Landlock: nothing is read-only", file=sys.stderr)
    no_namespaces()
    os.execvp(sys.argv[at + 1], sys.argv[at + 1 :])
