"""Every setting of the service. The only place that reads the environment."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

Seconds = Annotated[float, Field(gt=0)]


class Settings(BaseSettings):
    """Read from `DFAD_*` variables; the defaults run everything on one machine without services."""

    # A variable that is set to nothing counts as not set: an empty key must not open the service.
    model_config = SettingsConfigDict(env_prefix="DFAD_", env_ignore_empty=True, frozen=True)

    home: Path = Path(".dfad")
    """Folder of one machine's data: SQLite file, embedded broker, scratch space, logs."""
    database_url: str | None = None
    """SQLAlchemy URL; None: SQLite under `home`. Production: postgresql+psycopg://…"""
    broker_url: str | None = None
    """Celery broker; None: files under `home`. Production: redis://…"""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    api_key: Annotated[SecretStr, Field(min_length=1)] | None = None
    """If set, every call but the health checks needs it. Needed to listen beyond loopback."""

    max_upload_bytes: Annotated[int, Field(gt=0)] = 4 * 2**30
    """Largest teacher file; counted while it streams in."""
    max_json_bytes: Annotated[int, Field(gt=0)] = 1 * 2**20
    """Largest JSON body or `spec` part."""
    upload_stall_seconds: Seconds = 60
    """A body of which nothing arrives for this long is given up."""

    lease_seconds: Seconds = 60
    heartbeat_seconds: Seconds = 10
    self_fence_seconds: Seconds = 40
    """A supervisor whose heartbeats have failed this long stops its runner by itself."""
    reaper_seconds: Seconds = 15
    """How often expired leases and unsent messages are looked for."""
    republish_seconds: Seconds = 60
    """A queued job that nobody claimed for this long is announced again."""
    max_attempts: Annotated[int, Field(ge=1)] = 3
    retry_backoff_seconds: Annotated[float, Field(ge=0)] = 10
    """Back-off before attempt n + 1: this * 2^n, with jitter."""
    checkpoint_seconds: Seconds = 60
    stop_grace_seconds: Seconds = 20
    """From asking a runner to stop until it is killed."""
    sse_poll_seconds: Seconds = 0.5
    """How often an event stream looks for news."""
    sse_keep_alive_seconds: Seconds = 15
    """A stream without news sends a comment this often, so that nobody takes it for dead."""
    runner_threads: Annotated[int, Field(ge=0)] = 0
    """CPU threads of one runner; 0: the processors it may use, shared among local workers."""
    local_workers: Annotated[int, Field(ge=1)] = 1
    """Workers that share this machine's processors."""

    @property
    def resolved_database_url(self) -> str:
        return self.database_url or f"sqlite+pysqlite:///{(self.home / 'dfad.sqlite3').absolute()}"

    @property
    def resolved_broker_url(self) -> str:
        return self.broker_url or "filesystem://localhost"

    @property
    def broker_folder(self) -> Path:
        return self.home / "broker"

    @property
    def scratch_folder(self) -> Path:
        return self.home / "scratch"


@cache
def get_settings() -> Settings:
    """The process's settings, read once."""
    return Settings()
