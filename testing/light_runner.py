"""A runner without an engine: reports, a checkpoint, a student of a few bytes; torch is never loaded.

It takes `metadata.pause` seconds to train and `metadata.linger` in each phase. What it gives depends on the
spec alone, as the engine's students do, so that two of one job can be compared.
"""

import hashlib
import json
import os
import sys
import time

from worker.protocol import Message, read_message, write_message

STEPS = 5


def main() -> None:
    """One job."""
    out = os.fdopen(int(sys.argv[1]), "wb")
    data = read_message(sys.stdin.buffer).data  # type: ignore[union-attr]
    if data["mode"] == "inspect":
        write_message(out, Message("result", {"inspection": {}}))
        os._exit(0)
    spec = data["spec"]
    begun = 0
    if data["resume_path"]:
        with open(data["resume_path"], "rb") as file:
            begun = int(file.read())
    pause = float(spec["metadata"].get("pause", "0"))
    linger = float(spec["metadata"].get("linger", "0"))
    for phase in ("loading", "warming_up", "distilling"):
        write_message(out, Message("phase", {"phase": phase}))
        time.sleep(linger)
    for step in range(begun + 1, STEPS + 1):
        time.sleep(pause / STEPS)
        if step == STEPS // 2 + 1:
            write_message(out, Message("checkpoint", {"step": step}, str(step).encode()))
    about = {
        "step": STEPS,
        "total_steps": STEPS,
        "seconds": 1.0,
        "eta_seconds": 0.0,
        "metrics": {"loss": 0.0},
    }
    write_message(out, Message("progress", about))
    if begun < STEPS:
        write_message(out, Message("checkpoint", {"step": STEPS}, str(STEPS).encode()))
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).digest()
    training = {"steps": STEPS, "seconds": 1.0, "complete": True}
    result = {"training": training, "versions": {"resumed_from": str(begun)}}
    student = {"kind": "student", "filename": "student.safetensors", "complete": True, "result": result}
    write_message(out, Message("artifact", student, digest))
    for phase in ("evaluating", "exporting"):
        write_message(out, Message("phase", {"phase": phase}))
        time.sleep(linger)
    write_message(out, Message("result", {"result": result}))
    os._exit(0)


if __name__ == "__main__":
    main()
