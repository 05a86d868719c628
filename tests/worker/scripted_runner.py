"""A runner without an engine. What it does is told by the job's `metadata.act`; torch is never loaded."""

import os
import sys
import time
from pathlib import Path

from dfad_core.contract.job_result import JobResult
from dfad_core.contract.serialization import from_json, to_json
from worker.hooks import Channel, StopListener
from worker.protocol import read_message

STEPS = 10


def result(steps, *, resumed=0, complete=True, **figures):
    """A job's result whose training took as many seconds as the step at which it resumed."""
    training = {"steps": steps, "seconds": resumed, "complete": complete}
    return to_json(from_json(JobResult, {"student": {"parameters": 3}, "training": training, **figures}))


KNOWN = result(STEPS)
STUDENT = {"kind": "student", "step": 7}


def train(channel, listener, resumed):
    """Trains until told to stop, with a checkpoint at every step."""
    step = resumed
    while listener.reason is None:
        step += 1
        about = {"step": step, "total_steps": 1000, "seconds": float(step), "eta_seconds": 9.0}
        channel.send("progress", {**about, "metrics": {"loss": 1 / step}})
        channel.send("checkpoint", {"step": step}, str(step).encode())
        time.sleep(0.05)
    channel.send("artifact", STUDENT, b"half a student")
    channel.send("stopped", {"result": result(step, complete=False)})


def finish(channel, listener, resumed):
    """A whole student at once; its metadata tells where it began."""
    channel.send("samples", {"step": 1}, b"png")
    channel.send("warning", {"code": "collapse_suspected", "message": "hm"})
    channel.send("artifact", STUDENT, b"a student")
    channel.send("result", {"result": result(STEPS, resumed=resumed)})


def finish_when_told(channel, listener, resumed):
    """The stop comes too late: the training is already over."""
    channel.send("phase", {"phase": "exporting"})
    while listener.reason is None:
        time.sleep(0.02)
    finish(channel, listener, resumed)


def crash(channel, listener, resumed):
    channel.send("artifact", STUDENT, b"an orphan")
    os.kill(os.getpid(), 9)


def crash_when_told(channel, listener, resumed):
    channel.send("phase", {"phase": "distilling"})
    while listener.reason is None:
        time.sleep(0.02)
    os.kill(os.getpid(), 9)


def hang(channel, listener, resumed):
    channel.send("phase", {"phase": "distilling"})
    time.sleep(600)


def hang_late(channel, listener, resumed):
    """Makes steps for longer than the watchdog's patience, then none."""
    for _ in range(8):
        channel.send("alive")
        time.sleep(0.1)
    time.sleep(600)


def grow(channel, listener, resumed):
    """Takes memory, step by step."""
    held = []
    while True:
        held.append(bytearray(b"x" * 20_000_000))
        channel.send("alive")
        time.sleep(0.05)


def tear(channel, listener, resumed):
    """Dies in the middle of a frame."""
    channel._stream.write(b"\x00\x00\x00\x50{")
    channel._stream.flush()


def memory(channel, listener, resumed):
    channel.send("error", {"code": "out_of_memory", "message": "more memory than there is"})


def diverge(channel, listener, resumed):
    channel.send("error", {"code": "diverged", "message": "the loss is not finite", "param": None})


def diverge_late(channel, listener, resumed):
    """The loss goes wrong after some training: the student until then comes with the error."""
    channel.send("artifact", STUDENT, b"half a student")
    about = {"code": "diverged", "message": "the loss is not finite", "param": "student"}
    channel.send("error", {**about, "result": result(7, complete=False)})


def _trained(channel, resumed):
    """Trains, unless that is done, and hands the student over as the engine does before it evaluates."""
    if resumed < STEPS:
        channel.send("phase", {"phase": "distilling"})
        about = {"step": STEPS, "total_steps": STEPS, "percent": 100.0, "seconds": 1.0, "eta_seconds": 50.0}
        channel.send("progress", {**about, "metrics": {"loss": 0.1}})
        channel.send("checkpoint", {"step": STEPS}, str(STEPS).encode())
    about = {**STUDENT, "step": STEPS, "complete": True, "result": KNOWN}
    channel.send("artifact", about, b"a trained student")
    channel.send("phase", {"phase": "evaluating"})
    counted = {"done": 512, "total": 4096, "unit": "images"}
    channel.send("phase_progress", {"phase": "evaluating", **counted, "eta_seconds": 30.0})


def evaluate_and_crash(channel, listener, resumed):
    _trained(channel, resumed)
    channel.send("artifact", {"kind": "student_onnx"}, b"an orphan")
    os.kill(os.getpid(), 9)


def evaluate_and_hang(channel, listener, resumed):
    _trained(channel, resumed)
    time.sleep(600)


def evaluate_and_run_out_of_memory(channel, listener, resumed):
    _trained(channel, resumed)
    channel.send("error", {"code": "out_of_memory", "message": "more memory than there is"})


def evaluate_and_fail(channel, listener, resumed):
    _trained(channel, resumed)
    channel.send("error", {"code": "engine_error", "message": "The engine failed; see its log."})


def evaluate_until_told(channel, listener, resumed):
    """Obeys between two batches, with what it has measured by then."""
    _trained(channel, resumed)
    while listener.reason is None:
        channel.send("alive")
        time.sleep(0.02)
    channel.send("stopped", {"result": result(STEPS, fidelity={"agreement_drawn": 0.5})})


def evaluate(channel, listener, resumed):
    """To its end; of a second attempt too."""
    _trained(channel, resumed)
    channel.send("phase", {"phase": "exporting"})
    channel.send("artifact", {"kind": "report"}, b"a report")
    channel.send("result", {"result": result(STEPS, resumed=resumed)})


def crash_at_once(channel, listener, resumed):
    os.kill(os.getpid(), 9)


def reject(channel, listener, resumed):
    about = {"code": "architecture_mismatch", "message": "missing: fc.weight", "param": "architecture"}
    channel.send("error", {**about, "teacher_rejected": True})


if __name__ == "__main__":
    pipe = Channel(os.fdopen(int(sys.argv[1]), "wb"))
    data = read_message(sys.stdin.buffer).data
    stop = StopListener(sys.stdin.buffer)
    stop.start()
    begun = int(Path(data["resume_path"]).read_bytes()) if data["resume_path"] else 0
    globals()[data["spec"]["metadata"]["act"]](pipe, stop, begun)
    os._exit(0)
