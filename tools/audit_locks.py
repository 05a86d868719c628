"""`python tools/audit_locks.py`: whether what the images install has holes that are known, by pip-audit.

Every file of `deploy/lock` is looked up as it is; nothing is installed. Ends with 1 where there is a hole, or
where some of the packages are unknown to the service of holes while others are known. Without pip-audit, or
where the service answers for no package at all, it says so and ends with 0: that is no news, good or bad.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PROGRAM = "pip-audit"
IGNORED: dict[str, str] = {}
"""Holes that do not concern this project, by their id, and why."""
PATIENCE_SECONDS = 600
UNREACHABLE = re.compile(r"connect|resolve|timed? ?out|unreachable|max retries", re.IGNORECASE)


class Skipped(Exception):
    """Nothing was learnt; the text says why."""


def dependencies(path: Path) -> list[dict[str, Any]]:
    """What pip-audit says of each package in a lock file. Raises Skipped, and RuntimeError where it fails."""
    program = shutil.which(PROGRAM)
    if program is None:
        raise Skipped(f"{PROGRAM} is not installed (extra `ship`)")
    command = [
        program, "--requirement", str(path), "--require-hashes", "--disable-pip", "--format", "json",
        "--progress-spinner", "off", *(part for name in IGNORED for part in ("--ignore-vuln", name)),
    ]  # fmt: skip
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise Skipped(f"{PROGRAM} had no answer within {PATIENCE_SECONDS} s") from None
    try:
        found: list[dict[str, Any]] = json.loads(ran.stdout)["dependencies"]
    except (ValueError, KeyError):
        reason = (ran.stderr.strip().splitlines() or ["no answer"])[-1]
        raise (Skipped if UNREACHABLE.search(ran.stderr) else RuntimeError)(reason) from None
    # A service that knows nothing answers as quietly as one that found nothing.
    if found and all("skip_reason" in one for one in found):
        raise Skipped(f"the service knows none of the {len(found)} packages: {found[0]['skip_reason']}")
    return found


def complaints(found: list[dict[str, Any]]) -> list[str]:
    """A line for each hole, and for each package that was not looked up."""
    lines = []
    for one in found:
        if "skip_reason" in one:
            lines.append(f"{one['name']}: not looked up: {one['skip_reason']}")
        for hole in one.get("vulns", []):
            mends = ", ".join(hole.get("fix_versions", [])) or "no release yet"
            lines.append(f"{one['name']} {one['version']}: {hole['id']}, mended in {mends}")
    return lines


def main() -> int:
    """Look all files up, and say what was found."""
    code = 0
    for path in sorted((ROOT / "deploy" / "lock").glob("*.txt")):
        try:
            found = dependencies(path)
        except Skipped as error:
            print(f"skipped, {path.name}: {error}")
            continue
        except RuntimeError as error:
            print(f"{path.name}: {error}", file=sys.stderr)
            code = 1
            continue
        lines = complaints(found)
        print(f"{path.name}: {len(found)} packages, {len(lines)} complaints")
        print("".join(f"  {line}\n" for line in lines), end="")
        code = code or int(bool(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
