"""Landlock: which files this process reads and writes. The kernel's own means, which need no root."""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable

_LIBC = ctypes.CDLL(None, use_errno=True)
_CREATE, _ADD, _RESTRICT = 444, 445, 446
_ASK_VERSION = 1
_PATH_BENEATH = 1

_WRITE_FILE, _READ_FILE, _READ_FOLDER = 1 << 1, 1 << 2, 1 << 3
_REMOVE_FOLDER, _REMOVE_FILE, _MAKE_FOLDER, _MAKE_FILE = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_FIRST = (1 << 13) - 1
"""All rights of the first version: to read, execute, write, remove and make."""
_REFER, _TRUNCATE, _DEVICES = 1 << 13, 1 << 14, 1 << 15
_OF_FILES = _WRITE_FILE | _READ_FILE | _TRUNCATE
_NETWORK, _SCOPES = 0b11, 0b11

VERSIONS = (
    (2, "landlock refer"),
    (3, "landlock truncate"),
    (4, "landlock network"),
    (5, "landlock devices"),
    (6, "landlock signals"),
)
"""What the kernel's versions have added, and what is missing before them."""

READS = _READ_FILE | _READ_FOLDER
WRITES = READS | _WRITE_FILE | _TRUNCATE | _REMOVE_FILE | _MAKE_FILE | _REMOVE_FOLDER | _MAKE_FOLDER
"""In its own folder: files and folders, and neither links nor pipes nor devices."""


class _Rules(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def version() -> int:
    """The kernel's version of Landlock; 0 where it has none."""
    return max(0, int(_LIBC.syscall(_CREATE, None, 0, _ASK_VERSION)))


def places(named: Iterable[tuple[str, int]]) -> list[tuple[int, int]]:
    """Descriptors of files and folders, each with its rights, for `see_only`.

    Places that this system does not have are left out. They are opened apart from their use: a process that
    becomes another user in between may no longer reach them by name.
    """
    found = []
    for place, rights in named:
        try:
            found.append((os.open(place, os.O_PATH | os.O_CLOEXEC), rights))
        except OSError:
            continue
    return found


def see_only(allowed: Iterable[tuple[int, int]]) -> list[str]:
    """Keep to these places for good, and close their descriptors; the names of what is missing.

    Nothing can be executed anywhere.
    """
    kernel = version()
    handled = _FIRST | (_REFER if kernel >= 2 else 0) | (_TRUNCATE if kernel >= 3 else 0)
    handled |= _DEVICES if kernel >= 5 else 0
    rules = _Rules(handled, _NETWORK, _SCOPES)
    # A kernel refuses fields that it does not know, unless the size leaves them out.
    size = 8 if kernel < 4 else 16 if kernel < 6 else 24
    ruleset = _LIBC.syscall(_CREATE, ctypes.byref(rules), size, 0) if kernel > 0 else -1
    added = [_add(ruleset, place, rights & handled) for place, rights in allowed]
    if ruleset < 0:
        return ["landlock"]
    restricted = all(added) and _LIBC.syscall(_RESTRICT, ruleset, 0) == 0
    os.close(ruleset)
    return [name for since, name in VERSIONS if kernel < since] if restricted else ["landlock"]


def _add(ruleset: int, place: int, rights: int) -> bool:
    is_folder = stat.S_ISDIR(os.fstat(place).st_mode)
    beneath = _Beneath(rights if is_folder else rights & _OF_FILES, place)
    added = _LIBC.syscall(_ADD, ruleset, _PATH_BENEATH, ctypes.byref(beneath), 0)
    os.close(place)
    return bool(added == 0)
