"""The walls around a process that reads a foreign file. What stands here is Linux's own; it needs no root.

- It writes files in its folder alone, and nothing larger than a converted teacher; it reads that, the files
  that links in its folder name, the system's libraries and the installed packages (`worker.landlock`).
- It makes the system calls that reading takes, and no other (`worker.call_filter`): no socket, no program,
  no process, no signal to others. Networks, and shared memory of System V, are its own, where the kernel
  gives that.
- Memory, processor time, threads and open files are limited.
- Root is given up first: it becomes a user that owns nothing. It has no capability, but where that user
  cannot read the interpreter: then the one to read files, which Landlock bounds.
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

from worker import landlock
from worker.call_filter import refuse_calls
from worker.kernel import die_with_parent

_LIBC = ctypes.CDLL(None, use_errno=True)

MEMORY_BYTES = 2 * 2**30
MEMORY_TIMES_FILE = 6
FILE_SLACK_BYTES = 64 * 2**20
FILE_TIMES_FILE = 8
"""An int8 weight is eight times as large as int64."""
CPU_SECONDS = 300
OPEN_FILES = 256
MOST_THREADS = 4096
"""Of a user of its own, or in a namespace of its own: elsewhere the user's other processes would count."""
NOBODY = 65534

_PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_SET_NO_NEW_PRIVS = 4, 8, 38
_CLONE_NEWIPC, _CLONE_NEWUSER, _CLONE_NEWNET = 0x08000000, 0x10000000, 0x40000000
_CAPABILITIES_3 = 0x20080522
_CAPSET = {"x86_64": 126, "aarch64": 91}
_READ_ALL_FILES = 1 << 2
"""CAP_DAC_READ_SEARCH."""

_READABLE = (
    "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/sys/devices/system", "/proc/self",
    "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/dev/null", "/dev/urandom",
)  # fmt: skip


def confine(folder: Path, file_bytes: int) -> list[str]:
    """Put this process behind the walls, for good; the names of walls that the kernel does not have.

    Files that symbolic links in `folder` name can be read. Where root is given up, such a file has to lie in
    the folder above, and its link to be relative. For a process with one thread.
    """
    linked = [entry.resolve() for entry in folder.iterdir() if entry.is_symlink()]
    named = [(str(folder), landlock.WRITES), *((str(path), landlock.READS) for path in linked)]
    seen = landlock.places([*named, *((place, landlock.READS) for place in _readable_places())])
    _limit(file_bytes)
    missing, kept = _leave_user_and_network(folder, linked)
    if not _keep_capabilities(kept):
        missing.append("capabilities")
    die_with_parent()  # the kernel forgets it when the user changes
    _LIBC.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    if _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return [*missing, "landlock", "seccomp"]
    missing += landlock.see_only(seen)
    if not refuse_calls():
        missing.append("seccomp")
    return missing


def close_all_but(kept: Sequence[int]) -> None:
    """Close every descriptor but these; those of standard input, output and errors lead nowhere then."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        if standard not in kept:
            os.dup2(nowhere, standard)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            try:
                os.close(int(name))
            except OSError:  # the descriptor of the listing itself
                continue


def _leave_user_and_network(folder: Path, linked: Sequence[Path]) -> tuple[list[str], int]:
    """What is missing, and the capabilities that are still needed.

    The user comes first: within a user namespace nobody can tell root from others any more.
    """
    apart = _CLONE_NEWNET | _CLONE_NEWIPC
    if 0 not in os.getresuid():
        if _LIBC.unshare(_CLONE_NEWUSER | apart) != 0:
            return ["network namespace"], 0
        _limit_threads()
        return [], 0
    missing = []
    separate = _LIBC.unshare(apart) == 0
    kept = 0 if _interpreter_is_readable() else _READ_ALL_FILES
    if _become_nobody(folder, linked):
        _limit_threads()
    else:
        missing.append("user of its own")
    # A user namespace takes the capability away that reads the interpreter.
    if not separate and (kept or _LIBC.unshare(_CLONE_NEWUSER | apart) != 0):
        missing.append("network namespace")
    return missing, kept


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
        _lower(kind, wanted)


def _limit_threads() -> None:
    _lower(resource.RLIMIT_NPROC, MOST_THREADS)


def _lower(kind: int, wanted: int) -> None:
    hard = resource.getrlimit(kind)[1]
    value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    # One that has used its seconds up dies by SIGXCPU, not by the SIGKILL of somebody from outside.
    soft = value - 1 if kind == resource.RLIMIT_CPU else value
    resource.setrlimit(kind, (soft, value))


def _readable_by_all(path: Path) -> bool:
    return all(part.stat().st_mode & 0o005 == 0o005 for part in (path, *path.parents))


def _interpreter_is_readable() -> bool:
    import torch

    needed = (sys.executable, torch.__file__, __file__)
    return all(_readable_by_all(Path(path).resolve().parent) for path in needed)


def _become_nobody(folder: Path, linked: Sequence[Path]) -> bool:
    try:
        for path in linked:
            os.chown(path, -1, NOBODY)
            path.chmod(0o640)
            os.chown(path.parent, -1, NOBODY)
            path.parent.chmod(0o710)
        for path in (folder, *folder.iterdir()):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        _LIBC.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    except OSError:
        return False
    return True


def _keep_capabilities(kept: int) -> bool:
    """Give all capabilities up but `kept`, those of a new user namespace too."""
    call = _CAPSET.get(os.uname().machine)
    head = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITIES_3, 0))
    sets = ctypes.create_string_buffer(struct.pack("=6I", kept, kept, 0, 0, 0, 0))
    return call is not None and bool(_LIBC.syscall(call, head, sets) == 0)


def _readable_places() -> set[str]:
    """Where the interpreter, its packages and the system's libraries are."""
    packages = [str(Path(p)) for p in sys.path if p and ("site-packages" in p or "dist-packages" in p)]
    ours = [str(Path(__file__).resolve().parent.parent / name) for name in ("dfad_core", "worker", "app")]
    standard = os.path.dirname(os.__file__)
    return {*_READABLE, *packages, *ours, standard, os.path.join(sys.base_prefix, "lib")}
