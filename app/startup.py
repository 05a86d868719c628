"""How a program of the service begins: with settings that are right, or with a line on what is wrong."""

from __future__ import annotations

import re
import sys
from json import JSONDecodeError
from typing import get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError

from app.config import Settings, get_settings
from app.setting_files import SettingFileError

WRONG_SETTINGS = 2
"""The exit code, for all programs."""


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
