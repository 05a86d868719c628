"""The runner: a process of its own for one job. It holds no secret and reaches no service.

It reads commands from standard input and writes frames to the descriptor FD: started afresh, by
`python -m worker.runner FD`; forked from `worker.nursery`, by a call of `main`. Its input is the folder that
it starts in, the teacher's file in that folder, and a spec. A confined child process reads the file
(`worker.conversion`); the runner reads the converted copy alone. Errors of the engine become codes here,
once; their messages name tensors and settings, never paths.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Any

from dfad_core.contract.errors import DfadError, TeacherRejected
from dfad_core.contract.limits import Limits
from dfad_core.contract.serialization import from_json, to_json
from worker.kernel import name_process
from worker.protocol import read_message

NAME = "dfad-runner"


def _convert(channel: Any, data: dict[str, Any]) -> Any:
    """Convert the uploaded files in a confined child, before there is any thread that a fork would break."""
    from worker.conversion import convert
    from worker.reader import Files

    inspection_only = data["mode"] == "inspect"
    spec = data["spec"] if inspection_only else data["spec"]["teacher"]
    paths = {name: data.get(f"{name}_path") for name in ("teacher", "initial", "labelled")}
    files = Files(**{name: Path(path) for name, path in paths.items() if path is not None})
    threads = data.get("threads")
    return convert(files, spec, lambda: channel.send("alive", {}), offers=inspection_only, threads=threads)


def _start(channel: Any, hooks: Any, data: dict[str, Any], converted: Any) -> None:
    """Carry out the `start` command with the converted files."""
    import torch

    from worker import engine_job

    if data["mode"] == "inspect":
        channel.send("result", {"inspection": to_json(converted.inspection)})
        return
    # A runner that was forked has loaded its libraries for all processors.
    torch.set_num_threads(data["threads"])
    if data["mode"] == "measure":
        _measure(channel, hooks, data, converted)
        return
    hooks.inspection(converted.inspection)
    resume = Path(data["resume_path"]).read_bytes() if data.get("resume_path") else None
    outcome = engine_job.run(
        converted,
        data["spec"],
        hooks,
        resume=resume,
        checkpoint_seconds=data["checkpoint_seconds"],
        limits=from_json(Limits, data["limits"]),
    )
    measured = outcome.measured
    assert measured is not None, "left out only where the options say so"
    for file in measured.files:
        channel.send("artifact", {"kind": file.kind, "step": measured.steps}, file.content)
    result = to_json(measured.result)
    if outcome.error is not None:
        channel.send("error", {**_about(outcome.error), "result": result})
    else:
        channel.send("stopped" if measured.stopped else "result", {"result": result})


def _measure(channel: Any, hooks: Any, data: dict[str, Any], converted: Any) -> None:
    """Measure a finished job on the converted images with its own files."""
    from dfad_core.contract.job_result import JobResult
    from dfad_core.report.later_accuracy import FinishedJob
    from worker import engine_job

    job = FinishedJob(
        from_json(JobResult, data["result"]),
        {name: Path(path) for name, path in data["students"].items()},
        data["spec"],
        data["history"],
        [(step, Path(path).read_bytes()) for step, path in data["pictures"]],
    )
    result, report = engine_job.measure(converted, job, hooks)
    channel.send("artifact", {"kind": report.kind}, report.content)
    channel.send("result", {"accuracy": to_json(result.accuracy)})


def _about(error: DfadError) -> dict[str, Any]:
    return {"code": error.code, "message": error.message, "param": error.param}


def main(out_descriptor: int) -> int:
    """Run one job and report how it ended. Exit code 0 if the report was sent."""
    name_process(NAME)
    # Imported here so that a runner without a command costs nothing.
    from worker.conversion import ReaderKilled
    from worker.hooks import Channel, PipeHooks, StopListener

    out = os.fdopen(out_descriptor, "wb")
    channel = Channel(out)
    # Descriptor 0 itself: in a forked process, sys.stdin may remember another.
    commands = os.fdopen(0, "rb", closefd=False)
    command = read_message(commands)
    if command is None or command.type != "start":
        return 2
    listener = StopListener(commands)
    try:
        converted = _convert(channel, command.data)
        listener.start()
        _start(channel, PipeHooks(channel, listener), command.data, converted)
    except ReaderKilled:
        return 3  # without a report, as if the runner itself had been killed: its supervisor tries again
    except DfadError as error:
        channel.send("error", {**_about(error), "teacher_rejected": isinstance(error, TeacherRejected)})
    except MemoryError:
        channel.send(
            "error", {"code": "out_of_memory", "message": "The job needs more memory than there is."}
        )
    except RuntimeError as error:
        traceback.print_exc()
        memory = "out of memory" in str(error).lower() or "allocate memory" in str(error).lower()
        code = "out_of_memory" if memory else "engine_error"
        text = "The job needs more memory than there is." if memory else "The engine failed; see its log."
        channel.send("error", {"code": code, "message": text})
    # The last line before the pipe: the trace goes to the log, a code to the job.
    except Exception:  # noqa: BLE001
        traceback.print_exc()
        channel.send("error", {"code": "engine_error", "message": "The engine failed; see its log."})
    return 0


if __name__ == "__main__":
    code = main(int(sys.argv[1]))
    sys.stderr.flush()
    os._exit(code)  # the listener thread is blocked in a read; there is nothing else to wait for
