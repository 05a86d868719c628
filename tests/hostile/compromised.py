"""A reader that its file has taken over: it tries all that it must not be able to do.

`python -m tests.hostile.compromised runner FD` is a runner, and with `nursery` a nursery of runners, whose
readers are such. What is to be attacked stands in the file that they read, and what came of it is written to
OUTCOME in the reader's own folder: "held", or what went through.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import resource
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

OUTCOME = "outcome.json"
PLANTED = ("jinja2", "selectors", "torch", "json", "sitecustomize", "worker")
REFUSALS = (errno.EPERM, errno.EACCES, errno.ENOSYS)
HARMLESS = signal.SIGURG
"""A signal that nobody notices who has not asked for it."""
_LIBC = ctypes.CDLL(None, use_errno=True)
_CALLS = {
    "x86_64": {"tgkill": 234, "tkill": 200, "sigqueue": 129, "tgsigqueue": 297, "io_uring": 425, "bpf": 321,
               "userfaultfd": 323, "perf": 298, "add_key": 248, "clone": 56, "capset": 126, "ioprio_set": 251,
               "handle": 304, "chmodat2": 452, "io_setup": 206, "kcmp": 312, "memfd_secret": 447,
               "mount_setattr": 442, "open_tree": 428, "process_madvise": 440, "pidfd_getfd": 438},
    "aarch64": {"tgkill": 131, "tkill": 130, "sigqueue": 138, "tgsigqueue": 240, "io_uring": 425, "bpf": 280,
                "userfaultfd": 282, "perf": 241, "add_key": 217, "clone": 220, "capset": 91, "ioprio_set": 30,
                "handle": 265, "chmodat2": 452, "io_setup": 0, "kcmp": 272, "memfd_secret": 447,
                "mount_setattr": 442, "open_tree": 428, "process_madvise": 440, "pidfd_getfd": 438},
}  # fmt: skip


def _libc(name: str, *arguments: object) -> None:
    if getattr(_LIBC, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)


def _call(name: str, *arguments: object) -> None:
    if _LIBC.syscall(_CALLS[platform.machine()][name], *arguments) == -1:
        raise OSError(ctypes.get_errno(), name)


def _forked(make: Callable[[], int]) -> None:
    own = os.getpid()
    make()
    if os.getpid() != own:
        os._exit(0)


def on_files(secret: Path, teacher: Path, private: Path) -> dict[str, Callable[[], object]]:
    """`secret` is open to all but for the walls, `teacher` is what is read, `private` the service's."""
    beside = secret.parent
    return {
        "truncate": lambda: os.truncate(secret, 0),
        "empty by opening to read": lambda: os.open(secret, os.O_RDONLY | os.O_TRUNC),
        "open to write": lambda: os.open(secret, os.O_WRONLY),
        "open to append": lambda: os.open(secret, os.O_RDWR | os.O_APPEND),
        "read": secret.read_bytes,
        "list the folder outside": lambda: os.listdir(beside),
        "change the mode": lambda: os.chmod(secret, 0o777),
        "change the mode, newest call": lambda: _call("chmodat2", -100, bytes(secret), 0o777, 0),
        "change the owner": lambda: os.chown(secret, -1, -1),
        "change the times": lambda: os.utime(secret, (1, 1)),
        "set an attribute": lambda: os.setxattr(secret, "user.x", b"y"),
        "move away": lambda: os.rename(secret, "mine"),
        "move over": lambda: os.rename(OUTCOME, secret),
        "link to it": lambda: os.link(secret, "mine"),
        "link in a word": lambda: os.symlink(secret, "mine"),
        "delete": lambda: os.unlink(secret),
        "create outside": lambda: (beside / "new").write_bytes(b"x"),
        "make a folder outside": (beside / "folder").mkdir,
        "make a pipe": lambda: os.mkfifo("pipe"),
        "make a device": lambda: os.mknod("device", stat.S_IFCHR | 0o600, os.makedev(1, 3)),
        "write to the file that is read": lambda: os.open(teacher, os.O_WRONLY),
        "truncate the file that is read": lambda: os.truncate(teacher, 0),
        "change the mode of the file that is read": lambda: os.chmod(teacher, 0o600),
        "delete the file that is read": lambda: os.unlink(Path("..") / teacher.name),
        "read another file of the job": (Path("..") / private.name).read_bytes,
        "write into the job's folder": lambda: (Path("..") / "jinja2.py").write_text("x"),
        "read the users": Path("/etc/passwd").read_bytes,
        "read the parent's environment": Path(f"/proc/{os.getppid()}/environ").read_bytes,
        "read the parent's memory": lambda: os.open(f"/proc/{os.getppid()}/mem", os.O_RDONLY),
        "see the parent's descriptors": lambda: os.listdir(f"/proc/{os.getppid()}/fd"),
        "be killed last": lambda: Path("/proc/self/oom_score_adj").write_text("-1000"),
        "map users": lambda: Path("/proc/self/uid_map").write_text("0 0 1"),
        "open a device": lambda: os.open("/dev/zero", os.O_RDWR),
        "change the root": lambda: os.chroot("."),
        "go elsewhere": lambda: os.chdir("/"),
        "mount": lambda: _libc("mount", b"none", b"/mnt", b"tmpfs", 0, None),
        "open a mount": lambda: _call("open_tree", -100, b"/", 0),
        "open by handle": lambda: _call("handle", -100, None, 0),
        "watch files": lambda: _libc("inotify_init1", 0),
    }


def on_processes() -> dict[str, Callable[[], object]]:
    """The parent is the runner."""
    parent = os.getppid()
    info = ctypes.create_string_buffer(bytes(8) + (-1).to_bytes(4, "little", signed=True) + bytes(116), 128)
    piece = ctypes.create_string_buffer(16)
    return {
        "signal": lambda: os.kill(parent, 0),
        "signal the group": lambda: os.kill(0, 0),
        "signal all": lambda: os.kill(-1, 0),
        "signal a thread": lambda: _call("tgkill", parent, parent, 0),
        "signal a thread, old call": lambda: _call("tkill", parent, 0),
        "queue a signal": lambda: _call("sigqueue", parent, int(HARMLESS), info),
        "queue a signal to a thread": lambda: _call("tgsigqueue", parent, parent, int(HARMLESS), info),
        "signal by descriptor": lambda: signal.pidfd_send_signal(os.pidfd_open(parent), 0),
        "take a descriptor": lambda: _call("pidfd_getfd", 3, 0, 0),
        "trace": lambda: _libc("ptrace", 16, parent, 0, 0),
        "read memory": lambda: _libc("process_vm_readv", parent, piece, 1, piece, 1, 0),
        "write memory": lambda: _libc("process_vm_writev", parent, piece, 1, piece, 1, 0),
        "advise on memory": lambda: _call("process_madvise", 3, piece, 1, 4, 0),
        "compare": lambda: _call("kcmp", parent, parent, 0, 0, 0),
        "change the priority": lambda: os.setpriority(os.PRIO_PROCESS, parent, 5),
        "change its own priority": lambda: os.setpriority(os.PRIO_PROCESS, 0, 5),
        "change the disk's priority": lambda: _call("ioprio_set", 1, parent, 0),
        "move to a processor": lambda: os.sched_setaffinity(parent, {0}),
        "change the schedule": lambda: os.sched_setscheduler(parent, os.SCHED_BATCH, os.sched_param(0)),
        "limit": lambda: resource.prlimit(parent, resource.RLIMIT_NOFILE, (64, 64)),
        "fork": lambda: _forked(os.fork),
        "clone": lambda: _forked(_clone),
        "run a program": lambda: os.execv("/bin/true", ["true"]),
        "start a program": lambda: os.posix_spawn("/bin/true", ["true"], {}),
        "leave the session": os.setsid,
        "leave the group": lambda: os.setpgid(0, 0),
        "outlive the parent": lambda: _libc("prctl", 1, 0, 0, 0, 0),
        "be looked into": lambda: _libc("prctl", 4, 1, 0, 0, 0),
        "be adopted to": lambda: _libc("prctl", 36, 1, 0, 0, 0),
        "become root": lambda: os.setuid(0),
        "become root's group": lambda: os.setgid(0),
        "join groups": lambda: os.setgroups([0]),
        "take capabilities": lambda: _call("capset", _capabilities()[0], _capabilities()[1]),
        "signals by a file's owner": lambda: __import__("fcntl").fcntl(1, 8, parent),
        "lease a file": lambda: __import__("fcntl").fcntl(os.open(OUTCOME, os.O_RDONLY), 1024, 0),
    }  # fmt: skip


def _clone() -> int:
    _call("clone", int(signal.SIGCHLD), 0, 0, 0, 0)
    return 1


def _capabilities() -> tuple[ctypes.Array[ctypes.c_char], ctypes.Array[ctypes.c_char]]:
    head = ctypes.create_string_buffer((0x20080522).to_bytes(4, "little") + bytes(4), 8)
    return head, ctypes.create_string_buffer(b"\xff" * 24, 24)


def on_the_kernel() -> dict[str, Callable[[], object]]:
    """Networks, memory shared with others, and doors that had holes before."""
    return {
        "socket": socket.socket,
        "datagram socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        "unix socket": lambda: socket.socket(socket.AF_UNIX),
        "socket pair": socket.socketpair,
        "netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "kernel's ciphers": lambda: socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET),
        "shared memory": lambda: _libc("shmget", 0x5EED, 4096, 0o1666),
        "message queue": lambda: _libc("msgget", 0x5EED, 0o1666),
        "semaphores": lambda: _libc("semget", 0x5EED, 1, 0o1666),
        "memory as a file": lambda: os.memfd_create("x"),
        "secret memory": lambda: _call("memfd_secret", 0),
        "io_uring": lambda: _call("io_uring", 4, ctypes.create_string_buffer(120)),
        "asynchronous io": lambda: _call("io_setup", 1, ctypes.create_string_buffer(8)),
        "bpf": lambda: _call("bpf", 0, ctypes.create_string_buffer(128), 128),
        "userfaultfd": lambda: _call("userfaultfd", 1),
        "performance counters": lambda: _call("perf", ctypes.create_string_buffer(128), 0, -1, -1, 0),
        "keys": lambda: _call("add_key", b"user", b"x", b"y", 1, -3),
        "a user namespace": lambda: _libc("unshare", 0x10000000),
        "a mount namespace": lambda: _libc("unshare", 0x00020000),
        "another's namespace": lambda: _libc("setns", 1, 0),
        "personality": lambda: _libc("personality", 0x0400000),
        "the machine's name": lambda: _libc("sethostname", b"x", 1),
        "the clock": lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()),
        "the kernel's log": lambda: _libc("klogctl", 3, None, 0),
        "a pipe": os.pipe,
        "locked memory": lambda: _libc("mlock", ctypes.create_string_buffer(4096), 4096),
    }


def _open_many() -> None:
    for _ in range(100_000):
        os.open(os.devnull, os.O_RDONLY)


def on_resources() -> dict[str, Callable[[], object]]:
    """More than is given."""
    return {
        "much memory": lambda: bytearray(64 * 2**30),
        "a large file": lambda: os.posix_fallocate(os.open("big", os.O_CREAT | os.O_WRONLY), 0, 2**40),
        "many files": _open_many,
        "higher limits": lambda: resource.setrlimit(resource.RLIMIT_CPU, (10**6, 10**6)),
    }


def descriptors() -> list[str]:
    """What is open besides nothing (0), the log (1 and 2) and one pipe; frames are sent to all of it."""
    found, pipes = [], set()
    head = b'{"type": "artifact", "bytes": 4, "data": {"kind": "report"}}'
    for number in range(1024):
        try:
            kind = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
        if kind.startswith("pipe:"):
            pipes.add(kind)
            os.write(number, len(head).to_bytes(4, "big") + head + b"<p>!\n")
        elif kind != os.devnull and not kind.startswith(("/proc/", os.getcwd())):
            found.append(kind)
    return [*found, *(sorted(pipes) if len(pipes) > 2 else [])]


def _tried(act: Callable[[], object], refusals: tuple[int, ...]) -> str:
    try:
        act()
    except MemoryError:
        return "held"
    except OSError as error:
        return "held" if error.errno in refusals else f"{type(error).__name__} {error.errno}"
    except ValueError as error:  # how Python tells a refused limit
        return "held" if "limit" in str(error) else str(error)
    return "done"


def _needed() -> None:
    """What reading takes."""
    import torch

    thread = threading.Thread(target=lambda: torch.randn(300, 300) @ torch.randn(300, 300))
    thread.start()
    thread.join()
    Path("here").write_bytes(b"x")
    Path("here").rename("there")
    Path("there").unlink()
    import xml.dom.minidom  # noqa: F401


def attack(path: Path, _: object) -> None:
    """Takes the place of the function that reads a teacher."""
    about = json.loads(path.read_bytes())
    outcome: dict[str, object] = {}
    Path(OUTCOME).write_text("")
    acts = {
        **on_files(Path(about["secret"]), Path(path.name), Path(about["private"])),
        **on_processes(),
        **on_the_kernel(),
    }
    for name, act in acts.items():
        outcome[name] = _tried(act, REFUSALS)
    more = (*REFUSALS, errno.EFBIG, errno.ENOMEM, errno.EMFILE, errno.ENOSPC)
    for name, act in on_resources().items():
        outcome[name] = _tried(act, more)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, 256))
    os.closerange(64, 1024)
    _needed()
    outcome["descriptors of others"] = "held" if not (open_ := descriptors()) else f"{open_}"
    for name in PLANTED:
        Path(f"{name}.py").write_text(f"open({about['marker']!r}, 'w')")
    Path(OUTCOME).write_text(json.dumps(outcome))
    Path("converted.safetensors").mkdir()
    os._exit(0)


def main() -> int:
    """Serve as one of the two."""
    from dfad_core import job

    job.read_teacher = attack  # type: ignore[assignment]
    if sys.argv[1] == "nursery":
        from worker import nursery

        del sys.argv[1]
        nursery.main()
        return 0
    from worker import runner

    return runner.main(int(sys.argv[2]))


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)
