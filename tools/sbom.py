"""`python tools/sbom.py [FOLDER]`: what each image installs, as a bill of materials in CycloneDX (JSON).

Made of `deploy/lock` alone, without a network, and the same for the same files: `api.cdx.json` and
`worker.cdx.json` in `sbom/`, or in the folder that is named. What the base image brings is not in it: ask the
registry or a scanner of images for that. Without cyclonedx-bom it says so and ends with 0.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROGRAM = "cyclonedx-py"
PARTS = {"api": ("api.txt",), "worker": ("worker.txt", "torch.txt")}
"""The lock files of each image."""


def main() -> int:
    """Write one for each image."""
    program = shutil.which(PROGRAM)
    if program is None:
        print(f"skipped: {PROGRAM} is not installed (extra `ship`)")
        return 0
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "sbom"
    folder.mkdir(exist_ok=True)
    for image, names in PARTS.items():
        target = folder / f"{image}.cdx.json"
        lock = "".join((ROOT / "deploy" / "lock" / name).read_text() for name in names)
        command = [
            program, "requirements", "-", "--pyproject", str(ROOT / "pyproject.toml"),
            "--output-reproducible", "--output-format", "JSON", "--output-file", str(target),
        ]  # fmt: skip
        ran = subprocess.run(command, input=lock, capture_output=True, text=True, check=False)
        if ran.returncode != 0:
            print((ran.stderr.strip().splitlines() or ["no answer"])[-1], file=sys.stderr)
            return 1
        print(f"wrote {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
