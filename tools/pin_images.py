"""`python tools/pin_images.py`: write the digest of every image that is not built here beside its tag.

In the Dockerfile and the Compose files each such image stands as `name:tag@sha256:digest`. The tag says which
version it is, the digest is what is pulled. After a tag was changed this asks the registry for the digest,
with docker, skopeo or crane. Nothing is written unless every digest is known. Without such a program or a way
to the registry it says so and ends with 0; a tag that does not exist ends it with 1.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
REFERENCE = re.compile(
    r"^(?P<before>\s*(?:image:|ARG \w+_IMAGE=|FROM)\s*)"
    r"(?P<name>[a-z0-9][\w./-]*):(?P<tag>[\w.-]+)(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.MULTILINE,
)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
PROGRAMS: dict[str, list[str]] = {
    "docker": ["buildx", "imagetools", "inspect", "--format", "{{.Manifest.Digest}}"],
    "skopeo": ["inspect", "--format", "{{.Digest}}"],
    "crane": ["digest"],
}
"""What each program is asked; all answer with the digest of the index of all platforms."""
UNREACHABLE = re.compile(
    r"no such host|dial tcp|lookup|i/o timeout|deadline exceeded|connection refused|network is unreachable"
    r"|TLS handshake|proxyconnect|Cannot connect to the Docker daemon|server misbehaving",
    re.IGNORECASE,
)
PATIENCE_SECONDS = 60


class Unreachable(Exception):
    """No registry can be asked from here; the text says why."""


class Unknown(Exception):
    """The registry answered, but with no digest for the tag."""


@dataclass(frozen=True)
class Image:
    """One image of another's, as a file names it."""

    name: str
    tag: str
    digest: str | None

    @property
    def reference(self) -> str:
        """Name and tag."""
        return f"{self.name}:{self.tag}"


def files() -> list[Path]:
    """Those that name images."""
    return [ROOT / "Dockerfile", *sorted(ROOT.glob("docker-compose*.yml"))]


def images(text: str) -> Iterator[Image]:
    """The images in a file's text, without those that are built here: their tag is a variable."""
    for match in REFERENCE.finditer(text):
        yield Image(match["name"], match["tag"], match["digest"])


def pinned(text: str, digests: dict[str, str]) -> str:
    """The text with the digest after every tag, by `name:tag`."""

    def written(match: re.Match[str]) -> str:
        reference = f"{match['name']}:{match['tag']}"
        return f"{match['before']}{reference}@{digests[reference]}"

    return REFERENCE.sub(written, text)


def resolve(reference: str) -> str:
    """The digest of a tag. Raises Unreachable without a program or a registry, Unknown without such a tag."""
    program = next((name for name in PROGRAMS if shutil.which(name)), None)
    if program is None:
        raise Unreachable(f"none of {', '.join(PROGRAMS)} is installed")
    asked = f"docker://{reference}" if program == "skopeo" else reference
    command = [program, *PROGRAMS[program], asked]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise Unreachable(f"{program} had no answer within {PATIENCE_SECONDS} s") from None
    found = DIGEST.search(ran.stdout)
    if ran.returncode == 0 and found:
        return found.group()
    reason = (ran.stderr.strip().splitlines() or ["no answer"])[-1]
    if UNREACHABLE.search(reason):
        raise Unreachable(f"{program}: {reason}")
    raise Unknown(f"{reference}: {reason}")


def main() -> int:
    """Ask for all, then write all."""
    texts = {path: path.read_text() for path in files()}
    named = sorted({image.reference for text in texts.values() for image in images(text)})
    try:
        digests = {reference: resolve(reference) for reference in named}
    except Unreachable as error:
        print(f"skipped, nothing is changed: {error}")
        return 0
    except Unknown as error:
        print(error, file=sys.stderr)
        return 1
    for path, text in texts.items():
        new = pinned(text, digests)
        if new != text:
            path.write_text(new)
            print(f"pinned {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
