"""Every setting of the service. The only place that reads the environment."""

from __future__ import annotations

import ipaddress
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import quote, urlsplit

from pydantic import AliasChoices, BaseModel, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from app.setting_files import FileSource
from app.webhooks.addresses import parse_allowed

Seconds = Annotated[float, Field(gt=0)]
Days = Annotated[float, Field(gt=0, le=36_500)]
MOST = 2**63 - 1
"""What a database's integer holds."""
Count = Annotated[int, Field(ge=0, le=MOST)]


class Quota(BaseModel, extra="forbid", frozen=True):
    """What one tenant may have at a time; None: as much as there is."""

    queued_jobs: Count | None = None
    running_jobs: Count | None = None
    stored_bytes: Count | None = None
    """Teachers, uploads, also while they arrive, and what jobs make, which is never refused itself."""
    requests_per_minute: Annotated[int, Field(ge=1, le=MOST)] | None = None


class Settings(BaseSettings):
    """Read from `DFAD_*` variables; the defaults run everything on one machine without services.

    Each may stand in a file instead, which `DFAD_*_FILE` names (`app/setting_files.py`).
    """

    # A variable that is set to nothing counts as not set: an empty key must not open the service.
    # An error's text goes to logs: it must not quote what was set.
    model_config = SettingsConfigDict(
        env_prefix="DFAD_", env_ignore_empty=True, frozen=True, hide_input_in_errors=True
    )

    home: Path = Path(".dfad")
    """Folder of one machine's data: SQLite file, embedded broker, scratch space, logs."""
    database_url: str | None = None
    """SQLAlchemy URL; None: SQLite under `home`. Production: postgresql+psycopg://…"""
    database_password: Annotated[SecretStr, Field(min_length=1)] | None = None
    """Of the database's user, where the URL names none; as it is, without the quoting that URLs need."""
    broker_url: str | None = None
    """Celery broker; None: files under `home`. Production: redis://…"""
    broker_password: Annotated[SecretStr, Field(min_length=1)] | None = None
    """Of the broker, in the same way."""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    trusted_proxies: str = "127.0.0.1,::1"
    """Addresses or networks, by commas, that may say which address and scheme a request came by; `*`: all."""
    server_processes: Annotated[int, Field(ge=1, le=64)] = 1
    """That answer requests; as many as processors pay where many clients poll."""
    api_key: Annotated[SecretStr, Field(min_length=1)] | None = None
    """If set, every call but the health checks needs it. Needed to listen beyond loopback."""

    key_pepper: Annotated[SecretStr, Field(min_length=16)] | None = None
    """What keys of the database are hashed with; the same for all servers. None: made once, under `home`."""
    quotas: dict[str, Quota] = {}
    """By tenant, as JSON, `*` for everybody: `{"*": {"queued_jobs": 100}, "acme": {"running_jobs": 4}}`.
    Those that are set while the service runs (`PUT /quotas/{tenant_id}`) go before."""

    artifact_store: Literal["database", "filesystem", "s3"] = "database"
    """Where bytes are kept: beside the jobs, which needs nothing else; in files; or in an object store."""
    artifact_folder: Path | None = None
    """Of the filesystem store, the same for servers and workers; None: `artifacts` under `home`."""
    s3_url: str | None = None
    """`s3://bucket/prefix`; what is not set here comes from the usual AWS_* variables."""
    s3_access_key_id: str | None = None
    s3_secret_access_key: Annotated[SecretStr, Field(min_length=1)] | None = None
    s3_endpoint: str | None = None
    """Of a store that is not Amazon's, e.g. http://rustfs:9000."""

    max_upload_bytes: Annotated[int, Field(gt=0)] = 4 * 2**30
    """Largest teacher file; counted while it streams in."""
    max_json_bytes: Annotated[int, Field(gt=0)] = 1 * 2**20
    """Largest JSON body or `spec` part."""
    max_job_memory_bytes: Annotated[int, Field(gt=0)] = 64 * 2**30
    """Jobs whose spec alone shows that they need more are refused; of the largest worker."""
    upload_part_bytes: Annotated[int, Field(gt=0)] = 8 * 2**20
    """Of an upload in parts; more where the file would need more than 10,000 of them."""
    upload_hours: Annotated[float, Field(gt=0, le=876_000)] = 24
    """An upload in parts to which nothing comes for so long is forgotten."""
    retention_days: Days | None = None
    """Jobs that ended so long ago are deleted with their artifacts, as are teachers that none is left of,
    unless the job is kept (`keep`). None: never."""
    upload_stall_seconds: Seconds = 60
    """A body of which nothing arrives for this long is given up."""
    audit_days: Days = 400
    """How long the audit goes back; a year, and time to look at it."""

    lease_seconds: Seconds = 60
    heartbeat_seconds: Seconds = 10
    self_fence_seconds: Seconds = 40
    """A supervisor whose heartbeats have failed this long stops its runner by itself."""
    reaper_seconds: Seconds = 15
    """How often expired leases and unsent messages are looked for."""
    republish_seconds: Seconds = 60
    """A queued job that nobody claimed for this long is announced again, and its teacher inspected."""
    max_attempts: Annotated[int, Field(ge=1)] = 3
    retry_backoff_seconds: Annotated[float, Field(ge=0)] = 10
    """Back-off before attempt n + 1: this * 2^n, with jitter."""
    checkpoint_seconds: Seconds = 60
    stop_grace_seconds: Seconds = 20
    """From asking a runner to stop until it is killed."""
    watchdog_seconds: Seconds = 600
    """A runner that says nothing for so long hangs, and is killed; it speaks at every step and, after
    training, at every batch."""
    runner_memory_bytes: Annotated[int, Field(gt=0)] | None = None
    """A runner that holds more than this is killed before the machine runs out. None: no limit."""
    webhook_allow: tuple[str, ...] = ()
    """Hosts, addresses and networks that webhooks may reach beside public ones, as JSON:
    `["hooks.internal", "10.1.0.0/16"]`."""
    webhook_key: Annotated[SecretStr, Field(min_length=16)] | None = None
    """Seals the secrets of webhooks; the same for servers and workers. None: they are kept as they are."""
    webhook_timeout_seconds: Seconds = 10
    """Of one try, from the look-up of its host to the answer."""
    webhook_retry_seconds: tuple[Seconds, ...] = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
    """Pauses between the tries of one message, three days in all; the schedule of Standard Webhooks."""
    webhook_senders: Annotated[int, Field(ge=0, le=64)] = 8
    """Messages that one worker sends at once; 0: none."""
    webhook_poll_seconds: Seconds = 1
    """How often a worker looks for messages that are due."""
    webhook_log_days: Days = 30
    """How long the log of deliveries goes back."""
    sse_poll_seconds: Seconds = 0.5
    """How often an event stream looks for news."""
    sse_keep_alive_seconds: Seconds = 15
    """A stream without news sends a comment this often, so that nobody takes it for dead."""
    log_format: Literal["auto", "json", "text"] = "auto"
    """Of log lines; auto: text on a terminal, JSON elsewhere."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged; at info, a line for every request but health checks."""
    otel: bool | None = None
    """Send spans (OpenTelemetry); None: if `otlp_endpoint` is set. More in the usual OTEL_* variables."""
    otlp_endpoint: str | None = Field(
        default=None,
        validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
    )
    """Where spans are sent. Only looked at here; the exporter reads it by itself."""
    revision: str | None = None
    """Of the sources that this was built from, for manifests; None: that of the checkout, if it is one."""
    runner_threads: Annotated[int, Field(ge=0)] = 0
    """CPU threads of one runner; 0: the processors it may use, shared among local workers."""
    worker_devices: tuple[Literal["auto", "cpu", "cuda"], ...] = ()
    """What a worker takes, as JSON: `["auto", "cuda"]` keeps a GPU for jobs that can use it. Empty: all
    that its machine can run."""
    local_workers: Annotated[int, Field(ge=1)] = 1
    """Workers that share this machine's processors."""

    @property
    def is_loopback(self) -> bool:
        """Whether programs of this machine alone can connect to `host`."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def resolved_database_url(self) -> str:
        if self.database_url is None:
            return f"sqlite+pysqlite:///{(self.home / 'dfad.sqlite3').absolute()}"
        if self.database_password is None:
            return self.database_url
        url = make_url(self.database_url).set(password=self.database_password.get_secret_value())
        return url.render_as_string(hide_password=False)

    @property
    def resolved_broker_url(self) -> str:
        if self.broker_url is None:
            return "dfad-files://localhost"
        if self.broker_password is None:
            return self.broker_url
        url = urlsplit(self.broker_url)
        user, _, place = url.netloc.rpartition("@")
        secret = quote(self.broker_password.get_secret_value(), safe="")
        return url._replace(netloc=f"{user}:{secret}@{place}").geturl()

    @property
    def resolved_artifact_folder(self) -> Path:
        return self.artifact_folder or self.home / "artifacts"

    @model_validator(mode="after")
    def _store_is_named(self) -> Self:
        if self.artifact_store == "s3" and self.s3_url is None:
            raise ValueError("DFAD_S3_URL must say where the s3 store is")
        if (self.s3_access_key_id is None) != (self.s3_secret_access_key is None):
            raise ValueError("DFAD_S3_ACCESS_KEY_ID and DFAD_S3_SECRET_ACCESS_KEY belong together")
        return self

    @field_validator("webhook_allow")
    @classmethod
    def _hosts_or_networks(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        parse_allowed(entries)
        return entries

    @model_validator(mode="after")
    def _one_password_each(self) -> Self:
        """Two passwords of which one is ignored would be found out on the day of a change."""
        try:
            database = None if self.database_url is None else make_url(self.database_url).password
            broker = None if self.broker_url is None else urlsplit(self.broker_url).password
        except (ArgumentError, ValueError):  # its text would quote the address
            raise ValueError("DFAD_DATABASE_URL or DFAD_BROKER_URL is no address") from None
        for name, url, own, extra in (
            ("DATABASE", self.database_url, database, self.database_password),
            ("BROKER", self.broker_url, broker, self.broker_password),
        ):
            if extra is not None and (url is None or own is not None):
                raise ValueError(f"DFAD_{name}_PASSWORD needs a DFAD_{name}_URL without a password in it")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  (not used here)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What code says, then variables, then the files that variables name."""
        return init_settings, env_settings, FileSource(settings_cls)

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
