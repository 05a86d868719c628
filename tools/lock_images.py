"""`python tools/lock_images.py`: write what the images install, by version and hash, into `deploy/lock`.

The versions are those of `constraints.txt`, the packages those that `pyproject.toml` asks for and all that
they need. Of each only wheels are taken that the image's Python installs on x86_64 or aarch64. uv asks the
index that it is set up with; no file says which. torch and what only its CUDA build needs stand apart, in
`torch.txt`, for they may come from an index of their own (`--torch cpu=ADDRESS` or `cuda=ADDRESS`, which
writes `torch-cpu.txt` or `torch-cuda.txt` alone).

Without a way to the index it says so and ends with 0; what cannot be locked ends it with 1.
"""

from __future__ import annotations

import argparse
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from packaging.markers import Marker
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

ROOT = Path(__file__).parents[1]
LOCKS = ROOT / "deploy" / "lock"
IMAGES = {
    "api": ("api", "s3", "otel"),
    "worker": ("engine", "worker", "vision", "s3", "otel"),
}
"""Extras of `pyproject.toml` by image, as `deploy/requirements.py` knows them."""
TORCH = re.compile(r"torch|torchvision|triton|nvidia-.*|cuda-.*")
MACHINES = ("x86_64", "aarch64")
GLIBC_MINOR = 36
"""Of Debian 12, which the images are made from."""
UNREACHABLE = re.compile(
    r"error sending request|dns error|connection refused|timed out|offline", re.IGNORECASE
)


class Unreachable(Exception):
    """The index cannot be asked from here; the text says why."""


class NotLocked(Exception):
    """A package without a wheel for a platform, or versions that do not go together."""


@cache
def python_version() -> tuple[int, int]:
    """That of the images."""
    found = re.search(
        r"^ARG PYTHON_IMAGE=python:(\d+)\.(\d+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )
    assert found is not None
    return int(found[1]), int(found[2])


def environment(machine: str) -> dict[str, str]:
    """What markers are compared with inside an image."""
    version = ".".join(map(str, python_version()))
    return {
        "implementation_name": "cpython", "implementation_version": f"{version}.0", "os_name": "posix",
        "platform_machine": machine, "platform_python_implementation": "CPython", "platform_release": "",
        "platform_system": "Linux", "platform_version": "", "python_full_version": f"{version}.0",
        "python_version": version, "sys_platform": "linux", "extra": "",
    }  # fmt: skip


@cache
def tags(machine: str) -> set[Tag]:
    """Of the wheels that an image can install."""
    newest = [f"manylinux_2_{minor}_{machine}" for minor in range(GLIBC_MINOR, 4, -1)]
    platforms = [
        *newest,
        *(f"manylinux{name}_{machine}" for name in ("2014", "2010", "1")),
        f"linux_{machine}",
    ]
    version = python_version()
    abi = "cp" + "".join(map(str, version))
    return {*cpython_tags(version, [abi], platforms), *compatible_tags(version, abi, platforms)}


def needed_on(package: dict[str, Any]) -> list[str]:
    """The machines on which an image installs the package."""
    marker = package.get("marker")
    return [m for m in MACHINES if marker is None or Marker(marker).evaluate(environment(m))]


def entry(package: dict[str, Any]) -> str:
    """A package's lines in a lock file, empty if no image needs it. Raises NotLocked without its wheels."""
    machines = needed_on(package)
    hashes: set[str] = set()
    for machine in machines:
        fitting = [wheel for wheel in package.get("wheels", []) if parse_tags(wheel) & tags(machine)]
        if not fitting:
            raise NotLocked(f"{package['name']} {package['version']} has no wheel for {machine}")
        hashes |= {wheel["hashes"]["sha256"] for wheel in fitting}
    if not machines:
        return ""
    only = f' ; platform_machine == "{machines[0]}"' if len(machines) == 1 else ""
    lines = [
        f"{package['name']}=={package['version']}{only}",
        *(f"--hash=sha256:{h}" for h in sorted(hashes)),
    ]
    return " \\\n    ".join(lines) + "\n"


def parse_tags(wheel: dict[str, Any]) -> frozenset[Tag]:
    """Those in a wheel's file name."""
    name = wheel.get("name") or unquote(str(wheel["url"]).rpartition("/")[2])
    return parse_wheel_filename(name)[3]


def solve(requirements: list[str], constraints: str, index: str = "") -> list[dict[str, Any]]:
    """The packages that these requirements need, as uv finds them. Raises Unreachable and NotLocked."""
    program = shutil.which("uv")
    if program is None:
        raise Unreachable("uv is not installed (extra `ship`)")
    with tempfile.TemporaryDirectory() as folder:
        asked, held, found = (Path(folder) / name for name in ("asked.in", "held.txt", "pylock.toml"))
        asked.write_text("\n".join(requirements))
        held.write_text(constraints)
        command = [
            program, "pip", "compile", str(asked), "--constraint", str(held), "--universal", "--quiet",
            "--python-version", ".".join(map(str, python_version())), "--only-binary", ":all:",
            "--format", "pylock.toml", "--output-file", str(found),
            *(["--default-index", index] if index else []),
        ]  # fmt: skip
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode != 0:
            reason = " ".join(ran.stderr.split())
            raise (Unreachable if UNREACHABLE.search(reason) else NotLocked)(reason)
        packages: list[dict[str, Any]] = tomllib.loads(found.read_text())["packages"]
    return packages


def written(packages: list[dict[str, Any]]) -> str:
    """The text of a lock file."""
    header = "# Made by `make lock`, from pyproject.toml and constraints.txt.\n"
    ordered = sorted(packages, key=lambda package: str(package["name"]))
    return header + "".join(entry(package) for package in ordered)


def torch_alone(packages: list[dict[str, Any]], wanted: bool = True) -> list[dict[str, Any]]:
    """The packages that come with torch, or all others."""
    return [package for package in packages if bool(TORCH.fullmatch(package["name"])) is wanted]


def locks() -> Iterator[tuple[str, str]]:
    """Names and texts of the committed files."""
    about = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = runpy.run_path(str(ROOT / "deploy" / "requirements.py"))["requirements"]
    constraints = (ROOT / "constraints.txt").read_text()
    yield "build.txt", written(solve(about["build-system"]["requires"], constraints))
    for image, extras in IMAGES.items():
        packages = solve(asked(about["project"], list(extras)), constraints)
        yield f"{image}.txt", written(torch_alone(packages, wanted=False))
        if image == "worker":
            yield "torch.txt", written(torch_alone(packages))


def torch_lock(device: str, index: str) -> Iterator[tuple[str, str]]:
    """Name and text of the file for torch's builds in an index of their own, of the same releases."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    held = [line for line in lines if re.match(r"torch(vision)?==", line)]
    yield f"torch-{device}.txt", written(torch_alone(solve(["torch", "torchvision"], "\n".join(held), index)))


def main() -> int:
    """Find all, then write all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--torch", metavar="DEVICE=ADDRESS", help="lock torch's builds of another index")
    device, _, index = (parser.parse_args().torch or "").partition("=")
    if device and (device not in ("cpu", "cuda") or not index):
        parser.error("--torch is cpu=ADDRESS or cuda=ADDRESS")
    try:
        texts = dict(torch_lock(device, index) if device else locks())
    except Unreachable as error:
        print(f"skipped, nothing is changed: {error}")
        return 0
    except NotLocked as error:
        print(error, file=sys.stderr)
        return 1
    LOCKS.mkdir(exist_ok=True)
    for name, text in texts.items():
        (LOCKS / name).write_text(text)
        print(f"wrote deploy/lock/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
