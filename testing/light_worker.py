"""A worker whose runners have no engine: `python -m testing.light_worker`."""

from pathlib import Path

from worker.__main__ import main
from worker.process import RunnerProcess

if __name__ == "__main__":
    RunnerProcess.program = (str(Path(__file__).with_name("light_runner.py")),)
    main()
