"""How a program of the service begins: with settings that are right, or with a line on what is wrong."""

from __future__ import annotations

import sys

from pydantic import ValidationError
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
            where = f"DFAD_{str(found['loc'][0]).upper()}: " if found["loc"] else ""
            print(f"{where}{found['msg'].removeprefix('Value error, ')}.", file=sys.stderr)
    except SettingFileError as error:
        print(f"{error}.", file=sys.stderr)
    except SettingsError as error:  # it names the setting, and quotes nothing
        print(f"{error}: it must be JSON.", file=sys.stderr)
    raise SystemExit(WRONG_SETTINGS)
