"""How a program of the service begins: with settings that are right, or with a line on what is wrong."""

from __future__ import annotations

import difflib
import logging
import os
import re
import sys
from collections.abc import Mapping, Sequence
from json import JSONDecodeError
from typing import get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError

from app.platform.setting_files import SUFFIX, SettingFileError
from app.platform.settings import PREFIX, Settings, get_settings

logger = logging.getLogger(__name__)

WRONG_SETTINGS = 2
"""The exit code, for all programs."""
OF_THE_CLIENT = {"DFAD_BASE_URL", "DFAD_CONFIG", "DFAD_PROFILE"}
"""Variables of the command line, which `dfad up` hands on to the service."""
NO_SETTINGS = {
    "DFAD_HEARTBEAT_SECONDS": "it follows from DFAD_LEASE_SECONDS",
    "DFAD_SELF_FENCE_SECONDS": "it follows from DFAD_LEASE_SECONDS",
    "DFAD_REAPER_SECONDS": "it follows from DFAD_LEASE_SECONDS",
    "DFAD_LOCAL_WORKERS": "the workers of a machine find each other",
    "DFAD_SSE_POLL_SECONDS": "it is fixed",
    "DFAD_WEBHOOK_POLL_SECONDS": "it is fixed",
    "DFAD_OTLP_ENDPOINT": "did you mean OTEL_EXPORTER_OTLP_ENDPOINT",
}
"""Settings of earlier versions, and what is called differently; what to do about them."""


def settings_or_exit() -> Settings:
    """The process's settings. Raises SystemExit with WRONG_SETTINGS once it has said what is wrong with them.

    No value is shown, for what it says ends up in logs.
    """
    try:
        return get_settings()
    except ValidationError as error:
        for found in error.errors(include_input=False, include_context=False, include_url=False):
            print(f"{_place(found['loc'])}{_fault(found)}.", file=sys.stderr)
    except SettingFileError as error:
        print(f"{error}.", file=sys.stderr)
    except SettingsError as error:  # it names the setting, and quotes nothing
        print(f"{_not_json(error)}.", file=sys.stderr)
    raise SystemExit(WRONG_SETTINGS)


def _place(location: tuple[int | str, ...]) -> str:
    """The variable, and the place within one that holds several values."""
    if not location:
        return ""
    name, *inner = (str(part) for part in location)
    return f"DFAD_{name.upper()}: " + (f"{'.'.join(inner)}: " if inner else "")


def _fault(found: ErrorDetails) -> str:
    if found["type"] == "extra_forbidden":
        return "there is no such entry"
    return found["msg"].removeprefix("Value error, ")


def _not_json(error: SettingsError) -> str:
    name = re.search(r'field "(\w+)"', str(error))
    if name is None:
        return f"{error}: it must be JSON"
    field, cause = Settings.model_fields[name[1]], error.__cause__
    form = 'an object: {"…": …}' if get_origin(field.annotation) is dict else "a list: […, …]"
    where = f"; {cause.msg} at character {cause.pos + 1}" if isinstance(cause, JSONDecodeError) else ""
    return f"DFAD_{name[1].upper()}: not JSON. It must be {form}{where}"


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """A sentence for each variable `DFAD_*` that is set and that nothing reads, with the nearest name.

    No value is in them.
    """
    fields = [name for name, field in Settings.model_fields.items() if field.validation_alias is None]
    known = [f"{PREFIX}{name.upper()}{end}" for name in fields for end in ("", SUFFIX)]
    set_names = {name.upper() for name, value in environment.items() if value}
    unknown = {name for name in set_names if name.startswith(PREFIX)} - {*known, *OF_THE_CLIENT}
    return [f"{name} is no setting and is ignored: {_advice(name, known)}." for name in sorted(unknown)]


def _advice(name: str, known: Sequence[str]) -> str:
    if name in NO_SETTINGS:
        return NO_SETTINGS[name]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    return f"did you mean {near[0]}" if near else "docs/settings.md lists all"


def warn_of_unknown_variables() -> None:
    """Name in the log what is set in vain: a name with a typing error, or of an earlier version."""
    for line in unknown_variables(os.environ):
        logger.warning("%s", line)
