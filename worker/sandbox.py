"""The walls around a process that reads a stranger's file. What stands here is Linux's own; it needs no root.

- It writes in its folder alone, and nothing larger than a converted teacher; it reads that, the libraries
  of the system and the installed packages, and no file of the service (Landlock).
- It makes no socket, runs no program, starts no process and looks into no other (seccomp); it has a network
  of its own with nothing in it, where the kernel gives that away.
- Memory, processor time and open files are limited.
- Where root starts it, it becomes a user that owns nothing, if that user can read the interpreter.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import struct
import sys
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)

MEMORY_BYTES = 2 * 2**30
MEMORY_TIMES_FILE = 6
FILE_SLACK_BYTES = 64 * 2**20
FILE_TIMES_FILE = 8
"""An int8 weight is eight times as large as int64."""
CPU_SECONDS = 300
OPEN_FILES = 256
NOBODY = 65534

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_PR_SET_DUMPABLE = 4
_CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_THREAD = 0x10000000, 0x40000000, 0x00010000

# Calls by their numbers on the two processors that torch is built for.
_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_REFUSED = {
    "x86_64": (
        41, 42, 43, 49, 50, 53, 57, 58, 59, 62, 101, 155, 161, 165, 166, 200, 234, 246, 248, 249, 250, 272,
        288, 298, 304, 308, 310, 311, 313, 320, 321, 322, 323, 424, 425, 426, 427, 434, 438, 440,
    ),
    "aarch64": (
        39, 40, 41, 51, 97, 104, 105, 117, 129, 130, 131, 198, 199, 200, 201, 202, 203, 217, 218, 219, 221,
        241, 242, 265, 268, 270, 271, 273, 280, 281, 282, 294, 424, 425, 426, 427, 434, 438, 440,
    ),
}  # fmt: skip
"""socket and its kin, fork, execve, kill, ptrace, mount, namespaces, keys, bpf, io_uring, other processes."""
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE3 = 435

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_WRITES = 0b1111111110010
"""Writing files, removing and making files and folders."""
_EXECUTE, _READ_FILE, _READ_FOLDER = 1, 4, 8
_READS = _EXECUTE | _READ_FILE | _READ_FOLDER
_READABLE = (
    "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/sys/devices/system", "/proc/self",
    "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/dev/null", "/dev/urandom",
)  # fmt: skip


def confine(folder: Path, file_bytes: int) -> list[str]:
    """Put this process behind the walls, for good; the names of walls that the kernel does not have."""
    missing = []
    _limit(file_bytes)
    if _LIBC.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        missing.append("network namespace")
    if os.geteuid() == 0 and not _become_nobody(folder):
        missing.append("user of its own")
    _LIBC.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    if _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return [*missing, "landlock", "seccomp"]
    if not _see_only(folder):
        missing.append("landlock")
    if not _refuse_calls():
        missing.append("seccomp")
    return missing


def _limit(file_bytes: int) -> None:
    now = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    limits = {
        resource.RLIMIT_AS: now + MEMORY_BYTES + MEMORY_TIMES_FILE * file_bytes,
        resource.RLIMIT_FSIZE: FILE_SLACK_BYTES + FILE_TIMES_FILE * file_bytes,
        resource.RLIMIT_CPU: CPU_SECONDS,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }
    for kind, wanted in limits.items():
        hard = resource.getrlimit(kind)[1]
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        # One that has used its seconds up dies by SIGXCPU, not by the SIGKILL of somebody from outside.
        soft = value - 1 if kind == resource.RLIMIT_CPU else value
        resource.setrlimit(kind, (soft, value))


def _readable_by_all(path: Path) -> bool:
    return all(part.stat().st_mode & 0o005 == 0o005 for part in (path, *path.parents))


def _become_nobody(folder: Path) -> bool:
    import torch

    if not all(
        _readable_by_all(Path(p).resolve().parent) for p in (sys.executable, torch.__file__, __file__)
    ):
        return False
    try:
        for path in (folder, *folder.iterdir()):
            os.chown(path, NOBODY, NOBODY)
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    except OSError:
        return False
    return True


def _readable_places() -> set[str]:
    """Where the interpreter, its packages and the system's libraries are."""
    packages = [str(Path(p)) for p in sys.path if p and ("site-packages" in p or "dist-packages" in p)]
    ours = [str(Path(__file__).resolve().parent.parent / name) for name in ("dfad_core", "worker", "app")]
    standard = os.path.dirname(os.__file__)
    return {*_READABLE, *packages, *ours, standard, os.path.join(sys.base_prefix, "lib")}


def _see_only(folder: Path) -> bool:
    class Ruleset(ctypes.Structure):
        _fields_ = (("handled_access_fs", ctypes.c_uint64),)

    class Beneath(ctypes.Structure):
        _pack_ = 1
        _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))

    rules = Ruleset(_WRITES | _READS)
    ruleset = _LIBC.syscall(_LANDLOCK_CREATE, ctypes.byref(rules), ctypes.sizeof(rules), 0)
    if ruleset < 0:
        return False
    allowed = [(str(folder), _WRITES | _READS), *((place, _READS) for place in _readable_places())]
    try:
        for place, access in allowed:
            try:
                where = os.open(place, os.O_PATH)
            except OSError:  # not every system has all of them
                continue
            is_file = not os.path.isdir(place)
            beneath = Beneath(access & (_EXECUTE | _READ_FILE) if is_file else access, where)
            added = _LIBC.syscall(_LANDLOCK_ADD, ruleset, 1, ctypes.byref(beneath), 0)
            os.close(where)
            if added != 0:
                return False
        return bool(_LIBC.syscall(_LANDLOCK_RESTRICT, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _refuse_calls() -> bool:
    """A seccomp filter of classic BPF: the calls named above fail with EPERM."""
    machine = platform.machine()
    if machine not in _ARCH:
        return False
    load, equal, greater, bits, give = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, kill = 0x7FFF0000, 0x80000000
    refuse, absent = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS

    def step(code: int, k: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("=HBBI", code, yes, no, k)

    program = [step(load, 4), step(equal, _ARCH[machine], 1, 0), step(give, kill), step(load, 0)]
    # Numbers of the x32 ABI are another way to the same calls.
    program += [step(greater, 0x40000000, 0, 1), step(give, kill)]
    # The C library falls back from clone3, whose flags no filter sees, to clone.
    program += [step(equal, _CLONE3, 0, 1), step(give, absent)]
    program += [step(equal, _CLONE[machine], 0, 4), step(load, 16), step(bits, _CLONE_THREAD, 1, 0)]
    program += [step(give, refuse), step(give, allow)]
    for number in _REFUSED[machine]:
        program += [step(equal, number, 0, 1), step(give, refuse)]
    program.append(step(give, allow))
    code = ctypes.create_string_buffer(b"".join(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    given = Program(len(program), ctypes.cast(code, ctypes.c_void_p))
    return bool(_LIBC.prctl(_PR_SET_SECCOMP, 2, ctypes.byref(given), 0, 0) == 0)
