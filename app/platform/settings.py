"""The settings of a process. The only place that reads the environment."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Self

from pydantic import model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from app.platform.setting_files import FileSource
from app.platform.setting_groups import Jobs, Logs, Places, Quota, Server, Storage, Webhooks, Worker
from app.platform.sign_in_settings import SignIn

__all__ = ["Quota", "Settings", "get_settings"]

PREFIX = "DFAD_"


class Settings(Places, Server, SignIn, Storage, Jobs, Worker, Webhooks, Logs, BaseSettings):
    """Read from `DFAD_*` variables; the defaults run everything on one machine without services.

    Each may stand in a file instead, which `DFAD_*_FILE` names (`app/platform/setting_files.py`).
    """

    # A variable that is set to nothing counts as not set: an empty key must not open the service.
    # An error's text goes to logs: it must not quote what was set.
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, hide_input_in_errors=True
    )

    @model_validator(mode="after")
    def _idle_for_long_enough(self) -> Self:
        """A worker that ends before a lost message is sent again would leave its job to nobody."""
        least = self.republish_seconds + self.lease_seconds
        if self.worker_idle_seconds is not None and self.worker_idle_seconds <= least:
            names = "DFAD_REPUBLISH_SECONDS and DFAD_LEASE_SECONDS"
            raise ValueError(f"DFAD_WORKER_IDLE_SECONDS must be more than {names} together")
        return self

    @model_validator(mode="after")
    def _one_way_to_jobs(self) -> Self:
        """Of a worker with a server and a database nobody could say whose jobs it takes."""
        if self.server is None:
            return self
        for name in ("database_url", "broker_url"):
            if getattr(self, name) is not None:
                raise ValueError(f"DFAD_SERVER and DFAD_{name.upper()} exclude each other")
        if self.api_key is None:
            raise ValueError("DFAD_SERVER needs a key of the scope worker in DFAD_API_KEY")
        return self

    @property
    def resolved_artifact_folder(self) -> Path:
        """Folder of the `filesystem` store."""
        return self.artifact_folder or self.home / "artifacts"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  (not used here)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then variables, then the files that variables name."""
        return init_settings, env_settings, FileSource(settings_cls)


@cache
def get_settings() -> Settings:
    """The process's settings, read once."""
    return Settings()
