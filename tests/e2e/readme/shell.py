"""Runs the lines of a document's `sh` blocks as a reader would, in a folder of the reader's.

What is changed on the way, and nothing else: JOB becomes the id of the job that was submitted last, FILE a
teacher's file, the address that of the service of this test, and numbers of steps are cut down. Exports with
an ellipsis get what the test has. What runs on (`python -m worker`) is started and goes on beside.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests.e2e.readme.markdown import Block

ROOT = Path(__file__).resolve().parents[3]
TEACHER = "examples/digits/teacher.safetensors"
ADDRESS = "http://127.0.0.1:8000"
#: Beginnings of lines that are run as they stand.
RUN = ("dfad ", "curl ", "export ", "python -m ", ". .venv/bin/activate", "DFAD_")
#: Of those, what does not end by itself.
GOES_ON = re.compile(r"(DFAD_\w+=\S+ )*(python -m (app|worker)|dfad up)\b(?!\.)")
#: Lines that would run this very suite, or need what no test machine has: where they are held instead.
ELSEWHERE = {
    "make demo": "tests/e2e/test_demo.py",
    "make test": "Makefile",
    "make install": "Makefile",
}
STEPS = 5
LINE_SECONDS = 90.0
PATIENCE_SECONDS = 60.0
_JOB = re.compile(r"job_[0-9a-f]{32}")


def lines(block: Block) -> list[str]:
    """Its commands, continued lines in one, without comments."""
    joined = re.sub(r"\\\n\s*", " ", block.text)
    found = [re.sub(r"\s+#.*$", "", line).strip() for line in joined.splitlines()]
    return [line for line in found if line and not line.startswith("#")]


def elsewhere(line: str) -> str | None:
    """The file that holds a line which is not run here."""
    return next((file for start, file in ELSEWHERE.items() if line.startswith(start)), None)


def has_runner(line: str) -> bool:
    """Whether a line of a document is run, or held elsewhere."""
    return line.startswith(RUN) or elsewhere(line) is not None


class Shell:
    """A reader at work: a folder with the examples in it, an environment, and the last job."""

    def __init__(self, folder: Path, environment: dict[str, str], exports: dict[str, str]) -> None:
        self.folder, self.environment, self._exports = folder, dict(environment), exports
        self.url = ADDRESS
        self.job: str | None = None
        self.beside: list[subprocess.Popen[bytes]] = []
        programs = folder / ".programs"
        programs.mkdir()
        for name, arguments in (("dfad", "-m dfad_client"), ("python", "")):
            program = programs / name
            program.write_text(f'#!/bin/sh\nexec {sys.executable} {arguments} "$@"\n')
            program.chmod(0o755)
        (folder / ".venv" / "bin").mkdir(parents=True)
        (folder / ".venv" / "bin" / "activate").write_text(f"PATH={programs}:$PATH\n")
        (folder / "examples").symlink_to(ROOT / "examples")
        # A refusal ends curl with an error, and no proxy is asked for this machine's own address.
        (folder / ".curlrc").write_text('silent\nshow-error\nfail-with-body\nnoproxy = "*"\n')
        self.environment |= {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "CURL_HOME": str(folder),
            "PYTHONPATH": str(ROOT),
        }

    def serve(self, url: str) -> None:
        """From now on the service is there."""
        self.url = self.environment["DFAD_BASE_URL"] = url

    def run_block(self, block: Block) -> None:
        """All its lines, in order."""
        for line in lines(block):
            if elsewhere(line) is None:
                self.run(line)

    def run(self, line: str) -> str:
        """One line; what it wrote. Fails the test where the line fails."""
        if line.startswith("export "):
            self._export(line)
            return ""
        line = line.replace(ADDRESS, self.url)
        line = re.sub(r'(--steps |"steps": )\d+', rf"\g<1>{STEPS}", line)
        line = re.sub(r"\bFILE\b", TEACHER, line)
        if re.search(r"\bJOB\b", line):
            assert self.job, f"no job was submitted before: {line}"
            self._prepare(line)
            line = re.sub(r"\bJOB\b", self.job, line)
        if GOES_ON.match(line):
            self._start(line)
            return ""
        told = self._finish("bash", "-eo", "pipefail", "-c", f"{line}\n:")  # bash stays, as a reader's
        if made := _JOB.findall(told):
            self.job = made[0]
        return told

    def python(self, text: str) -> str:
        """A block of Python, with the steps cut down; what it wrote."""
        text = re.sub(r'"steps": \d+', f'"steps": {STEPS}', text)
        return self._finish(sys.executable, "-c", text)

    def _finish(self, *command: str) -> str:
        """What a command wrote that has to end well."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=LINE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _export(self, line: str) -> None:
        name, _, value = line.removeprefix("export ").partition("=")
        if "…" in value or ".example" in value:
            assert name in self._exports, f"the test has no value for {name}"
            value = self._exports[name]
        self.environment[name] = value.strip("'\"")

    def _prepare(self, line: str) -> None:
        """Some commands say what state a reader's job is in."""
        if line.startswith("dfad pause"):
            self.until("running")
        if line.startswith("dfad resume"):
            self.until("paused")

    def until(self, status: str) -> None:
        """Wait for the job's state."""
        headers = {"Authorization": f"Bearer {self.environment.get('DFAD_API_KEY', 'none')}"}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            answer = httpx.get(f"{self.url}/jobs/{self.job}", headers=headers, trust_env=False)
            found = answer.json()["status"]
            if found == status:
                return
            assert time.monotonic() < deadline, f"{self.job} stays {found}"
            time.sleep(0.1)

    def _start(self, line: str) -> None:
        with (self.folder / "beside.log").open("ab") as log:
            # `exec`: so that the signal of the end reaches the program and not its shell.
            command = ["bash", "-c", re.sub(r"^((?:\w+=\S+ )*)", r"\1exec ", line, count=1)]
            process = subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=log, stderr=log)
        self.beside.append(process)

    def ready(self) -> None:
        """Wait until the service that was started beside answers that all is there."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                if httpx.get(f"{self.url}/readyz", trust_env=False).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            log = (self.folder / "beside.log").read_text()
            assert all(process.poll() is None for process in self.beside), log
            assert time.monotonic() < deadline, log
            time.sleep(0.1)

    def close(self) -> None:
        """End what runs beside."""
        for process in reversed(self.beside):
            process.terminate()
        for process in self.beside:
            process.wait(timeout=60)
