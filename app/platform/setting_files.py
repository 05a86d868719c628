"""Settings that stand in files: what `DFAD_API_KEY_FILE` names is read in the place of `DFAD_API_KEY`.

Every setting may come so, but for those that are others' variables too. What a file holds is told to nobody:
errors name the variable, the path and what is wrong with it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

MAX_BYTES = 64 * 2**10
SUFFIX = "_FILE"


class SettingFileError(ValueError):
    """A setting's file that cannot be used; the text is for whoever starts the service."""


class FileSource(PydanticBaseSettingsSource):
    """Reads the files that variables `<prefix><NAME>_FILE` name. Raises SettingFileError."""

    def __init__(self, settings: type[BaseSettings], environment: Mapping[str, str] | None = None) -> None:
        super().__init__(settings)
        given = os.environ if environment is None else environment
        self._environment = {name.upper(): value for name, value in given.items() if value}
        self._prefix = str(settings.model_config.get("env_prefix", "")).upper()

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The file's text, if one is named for this setting."""
        variable = f"{self._prefix}{field_name.upper()}"
        path = self._environment.get(variable + SUFFIX)
        if path is None:
            return None, field_name, False
        if field.validation_alias is not None:  # a variable of others, who read no file
            raise SettingFileError(f"{variable}{SUFFIX}: this setting cannot stand in a file")
        if variable in self._environment:
            raise SettingFileError(f"{variable}{SUFFIX}: {variable} is set as well; one of the two must go")
        return _text(variable + SUFFIX, Path(path), lines=self.field_is_complex(field)), field_name, False

    def __call__(self) -> dict[str, Any]:
        """All settings that files give."""
        found = {}
        for name, field in self.settings_cls.model_fields.items():
            value, key, is_complex = self.get_field_value(field, name)
            if value is not None:
                found[key] = self._prepared(name, field, value, is_complex)
        return found

    def _prepared(self, name: str, field: FieldInfo, value: Any, is_complex: bool) -> Any:
        try:
            return self.prepare_field_value(name, field, value, is_complex)
        except ValueError:  # its text would quote the file
            raise SettingFileError(f"{self._prefix}{name.upper()}{SUFFIX}: the file is not JSON") from None


def _text(variable: str, path: Path, *, lines: bool) -> str:
    """What the file holds, without the line's end that editors and `echo` leave."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SettingFileError(f"{variable}: {path}: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise SettingFileError(f"{variable}: {path}: larger than {MAX_BYTES} bytes, which no setting is")
    try:
        text = data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise SettingFileError(f"{variable}: {path}: not UTF-8 text") from None
    if not text.strip():
        raise SettingFileError(f"{variable}: {path}: the file is empty")
    if not lines and any(sign < " " for sign in text):
        raise SettingFileError(f"{variable}: {path}: more than one line, or a control character")
    return text
