"""Which server, with which key: what is given, the environment, a profile, or this machine's own.

The file is `$DFAD_CONFIG`, else `dfad/config.toml` under `$XDG_CONFIG_HOME` or `~/.config`:

    default = "lab"

    [profiles.lab]
    base_url = "https://dfad.lab.example"
    api_key = "…"
"""

from __future__ import annotations

import os
import stat
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfad_client.addresses import DEFAULT_BASE_URL
from dfad_client.errors import DfadClientError

FIELDS = ("base_url", "api_key")


class ProfileError(DfadClientError):
    """The file of profiles cannot be used as it is, or has no such profile."""


@dataclass(frozen=True)
class Server:
    """An address and what opens it."""

    base_url: str
    api_key: str | None = None


def config_path() -> Path:
    """Where the file of profiles is, if there is one."""
    if named := os.environ.get("DFAD_CONFIG"):
        return Path(named).expanduser()
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "dfad" / "config.toml"


def server(base_url: str | None = None, api_key: str | None = None, profile: str | None = None) -> Server:
    """The server to speak to: arguments, then the environment, then the profile, then the default.

    A profile named in an argument comes before DFAD_BASE_URL and DFAD_API_KEY: whoever says `--profile lab`
    means the lab. A key goes with its address: where the address is given by something stronger than the
    profile, the profile's key is not sent to it; nor is the environment's to a profile that an argument
    names, where the environment has another address. Raises ProfileError.
    """
    if base_url and api_key and not profile:
        return Server(base_url, api_key)
    chosen = _chosen(profile)
    outside = {name: os.environ.get(f"DFAD_{name.upper()}") for name in FIELDS}
    first, second = (chosen, outside) if profile else (outside, chosen)
    address = base_url or first.get("base_url") or second.get("base_url") or DEFAULT_BASE_URL
    key = api_key
    for source in (first, second):
        elsewhere = not _same(address, source.get("base_url") or address)
        of_another = elsewhere and (source is chosen or not base_url)
        if key is None and not of_another:
            key = source.get("api_key")
    return Server(address, key or None)


def _same(one: str, other: str) -> bool:
    return one.rstrip("/") == other.rstrip("/")


def names() -> list[str]:
    """The profiles in the file, the default first. Raises ProfileError."""
    content = _read()
    found = list(content.get("profiles", {}))
    default = content.get("default")
    return sorted(found, key=lambda name: name != default)


def _chosen(profile: str | None) -> dict[str, str | None]:
    content = _read()
    known: dict[str, dict[str, str | None]] = content.get("profiles", {})
    name = profile or os.environ.get("DFAD_PROFILE") or content.get("default")
    if name is None:
        return {}
    if name not in known:
        there = f"it has {', '.join(known)}" if known else "it has none, or is not there"
        raise ProfileError(f"There is no profile {name!r} in {config_path()}: {there}.")
    return known[name]


def _read() -> dict[str, Any]:
    """The file's content, checked; {} where there is none."""
    path = config_path()
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ProfileError(f"Cannot read {path}: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path} is not TOML: {error}.") from None
    _check(path, content)
    has_key = any("api_key" in profile for profile in content.get("profiles", {}).values())
    if has_key and os.name == "posix" and mode & 0o077:
        raise ProfileError(
            f"{path} holds keys and can be read by others (mode {mode:03o}). Close it: chmod 600 {path}"
        )
    return content


def _check(path: Path, content: dict[str, Any]) -> None:
    if unknown := set(content) - {"default", "profiles"}:
        raise ProfileError(
            f"{path} has an unknown entry {min(unknown)!r}; it takes default and [profiles.NAME]."
        )
    if not isinstance(content.get("default", ""), str):
        raise ProfileError(f"`default` in {path} must be a profile's name.")
    profiles = content.get("profiles", {})
    if not isinstance(profiles, dict):
        raise ProfileError(f"`profiles` in {path} must be tables: [profiles.NAME].")
    for name, profile in profiles.items():
        if not isinstance(profile, dict) or not all(isinstance(value, str) for value in profile.values()):
            raise ProfileError(f"The profile {name!r} in {path} must be a table of texts.")
        if unknown := set(profile) - set(FIELDS):
            raise ProfileError(
                f"The profile {name!r} in {path} has an unknown entry {min(unknown)!r}; it takes "
                f"{' and '.join(FIELDS)}."
            )
