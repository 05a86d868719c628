"""System calls that the process which reads a foreign file is given, by their names.

Each with its number on x86-64 and on aarch64, None where that processor has no such call: the tables
`asm/unistd_64.h` and `asm-generic/unistd.h` of Linux. Whatever is not named here is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

ARCHITECTURES = ("x86_64", "aarch64")
Table = Mapping[str, tuple[int | None, int | None]]

ALLOWED: Table = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "fstat": (5, 80), "newfstatat": (262, 79),
    "stat": (4, None), "lstat": (6, None), "statx": (332, 291), "lseek": (8, 62), "mmap": (9, 222),
    "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214), "mremap": (25, 216), "madvise": (28, 233),
    "msync": (26, 227), "mincore": (27, 232), "pread64": (17, 67), "pwrite64": (18, 68), "readv": (19, 65),
    "writev": (20, 66), "preadv": (295, 69), "pwritev": (296, 70), "ftruncate": (77, 46),
    "fallocate": (285, 47), "fsync": (74, 82), "fdatasync": (75, 83), "fadvise64": (221, 223),
    "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439), "readlink": (89, None),
    "readlinkat": (267, 78), "unlink": (87, None), "unlinkat": (263, 35), "mkdir": (83, None),
    "mkdirat": (258, 34), "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276),
    "getdents64": (217, 61), "getdents": (78, None), "getcwd": (79, 17), "statfs": (137, 43),
    "fstatfs": (138, 44), "dup": (32, 23), "poll": (7, None), "ppoll": (271, 73), "select": (23, None),
    "pselect6": (270, 72), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132), "restart_syscall": (219, 128), "futex": (202, 98),
    "set_robust_list": (273, 99), "rseq": (334, 293), "set_tid_address": (218, 96), "membarrier": (324, 283),
    "sched_yield": (24, 124), "sched_getaffinity": (204, 123), "sched_getparam": (143, 121),
    "sched_getscheduler": (145, 120), "sched_get_priority_max": (146, 125),
    "sched_get_priority_min": (147, 126), "getcpu": (309, 168), "gettid": (186, 178), "getpid": (39, 172),
    "getppid": (110, 173), "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176),
    "getegid": (108, 177), "getresuid": (118, 148), "getresgid": (120, 150), "getgroups": (115, 158),
    "getpgid": (121, 155), "getsid": (124, 156), "getpgrp": (111, None), "exit": (60, 93),
    "exit_group": (231, 94), "arch_prctl": (158, None), "uname": (63, 160), "sysinfo": (99, 179),
    "getrusage": (98, 165), "getrlimit": (97, 163), "times": (100, 153), "time": (201, None),
    "gettimeofday": (96, 169), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115), "nanosleep": (35, 101), "getrandom": (318, 278),
}  # fmt: skip
"""With any arguments: what Landlock, the limits and its own descriptors leave of them harms nobody."""

BY_ARGUMENT: Table = {
    "clone": (56, 220), "fcntl": (72, 25), "ioctl": (16, 29), "open": (2, None), "openat": (257, 56),
    "prctl": (157, 167), "prlimit64": (302, 261), "tgkill": (234, 131),
}  # fmt: skip
"""With some arguments only, see `worker.call_filter`."""

ABSENT: Table = {
    "clone3": (435, 435), "openat2": (437, 437), "close_range": (436, 436), "memfd_create": (319, 279),
    "mbind": (237, 235), "get_mempolicy": (239, 236), "set_mempolicy": (238, 237),
    "copy_file_range": (326, 285), "sendfile": (40, 71),
}  # fmt: skip
"""Answered as on a kernel that does not have them: libraries then take another way."""

NEWEST = 450
"""Calls with higher numbers are absent too: programs ask for them in order to know."""


def numbers(table: Table, machine: str) -> dict[str, int]:
    """The calls of a table that this machine of ARCHITECTURES has."""
    place = ARCHITECTURES.index(machine)
    found = {name: both[place] for name, both in table.items()}
    return {name: number for name, number in found.items() if number is not None}
