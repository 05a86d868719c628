"""A process with torch loaded that runners are forked from: a job's first step need not wait for imports.

`python -m worker.nursery FD` takes orders from the Unix socket FD: a JSON packet with the descriptors of a
runner's pipes. CUDA is never touched here, no thread is started and no secret is known, so that a fork is as
good as a fresh process. It dies with its worker, and its runners with it.

The last descriptor of an order is the line on which the worker is told of the runner: its process id, and
in the end its exit code, as two numbers of four bytes.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import socket
import struct
import sys
from typing import Any

NUMBER = struct.Struct("<i")
MAX_ORDER_BYTES = 65536
MAX_DESCRIPTORS = 8
NAME = "dfad-nursery"


def load() -> None:
    """Import what every runner needs, and make nothing with it."""
    # Otherwise loaded when the first optimizer is made, and when the report is drawn: a second each.
    import matplotlib.backends.backend_svg
    import matplotlib.figure  # noqa: F401
    import torch._dynamo  # noqa: F401

    from worker import engine_job, hooks, runner  # noqa: F401

    gc.collect()
    gc.freeze()  # what is there stays: a collection in a runner would copy its pages


def become_runner(order: dict[str, Any], descriptors: list[int], nursery: int) -> int:
    """In the child of the process `nursery`: take the place of a process started afresh, and run."""
    from worker import runner
    from worker.kernel import die_with_parent

    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    die_with_parent()
    if os.getppid() != nursery:  # it died before the kernel was asked
        os.kill(os.getpid(), signal.SIGKILL)
    commands, out, log, *kept = descriptors
    os.dup2(commands, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.set_inheritable(out, False)
    keep = {0, 1, 2, out, *kept}
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in keep:
            try:
                os.close(int(name))
            except OSError:  # the descriptor of the listing itself
                continue
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    return runner.main(out)


class Nursery:
    """The loop: orders in, process ids and exit codes out."""

    def __init__(self, orders: socket.socket) -> None:
        self._orders = orders
        self._lines: dict[int, int] = {}

    def serve(self) -> None:
        """Until the worker's end of the socket closes."""
        waking, woken = os.pipe()
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(woken)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with selectors.DefaultSelector() as selector:
            selector.register(self._orders, selectors.EVENT_READ)
            selector.register(waking, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj == waking:
                        os.read(waking, 512)
                    elif not self._take_order():
                        return
                self._reap()

    def _take_order(self) -> bool:
        data, descriptors, _, _ = socket.recv_fds(self._orders, MAX_ORDER_BYTES, MAX_DESCRIPTORS)
        if not data:
            return False
        *given, line = descriptors
        own = os.getpid()
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                code = become_runner(json.loads(data), given, own)
                sys.stderr.flush()
            finally:
                os._exit(code)
        os.setpgid(pid, pid)  # here too: whoever is told the id may kill the group at once
        for descriptor in given:
            os.close(descriptor)
        self._lines[pid] = line
        _tell(line, pid)
        return True

    def _reap(self) -> None:
        while self._lines:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            line = self._lines.pop(pid)
            _tell(line, os.waitstatus_to_exitcode(status))
            os.close(line)


def _tell(line: int, number: int) -> None:
    try:
        os.write(line, NUMBER.pack(number))
    except BrokenPipeError:
        return  # nobody wants to know any more


def main() -> None:
    """Load, then serve."""
    from worker.kernel import die_with_parent, name_process

    die_with_parent()
    name_process(NAME)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the worker to answer
    load()
    Nursery(socket.socket(fileno=int(sys.argv[1]))).serve()


if __name__ == "__main__":
    main()
