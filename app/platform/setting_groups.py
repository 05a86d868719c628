"""The settings of the service, group by group; `app.platform.settings.Settings` is all of them together.

`python tools/settings_page.py` prints `docs/settings.md` from GROUPS: a class is a section, the docstring
under a field is its text.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import quote, urlsplit

from pydantic import AliasChoices, BaseModel, Field, field_validator, model_validator
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from app.platform.network_addresses import parse_allowed
from app.platform.setting_types import MOST, Bytes, Count, Days, Group, LongSecret, Seconds, Secret
from app.platform.sign_in_settings import SignIn


class Quota(BaseModel, extra="forbid", frozen=True):
    """What one tenant may have at a time; None: as much as there is."""

    queued_jobs: Count | None = None
    running_jobs: Count | None = None
    stored_bytes: Count | None = None
    """Teachers, uploads, also while they arrive, and what jobs make, which is never refused itself."""
    requests_per_minute: Annotated[int, Field(ge=1, le=MOST)] | None = None


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself, and nobody else's."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Places(Group):
    """Folder, database and broker

    The same for servers, workers and the migration.
    """

    home: Path = Path(".dfad")
    """Folder of one machine's data: SQLite file, embedded broker, scratch space, logs."""
    database_url: str | None = None
    """Address of the database, as SQLAlchemy writes it: `postgresql+psycopg://…`. Not set: a SQLite file in
    the folder DFAD_HOME."""
    database_password: Secret | None = None
    """Password of the database's user, where the address contains none. Written as it is, without the
    quoting that addresses need."""
    broker_url: str | None = None
    """Address of Celery's broker: `redis://…`. Not set: files in the folder DFAD_HOME."""
    broker_password: Secret | None = None
    """Password of the broker, where the address contains none. Written as it is."""

    @property
    def resolved_database_url(self) -> str:
        """Address with its password."""
        if self.database_url is None:
            return f"sqlite+pysqlite:///{(self.home / 'dfad.sqlite3').absolute()}"
        if self.database_password is None:
            return self.database_url
        url = make_url(self.database_url).set(password=self.database_password.get_secret_value())
        return url.render_as_string(hide_password=False)

    @property
    def resolved_broker_url(self) -> str:
        """Address with its password."""
        if self.broker_url is None:
            return "dfad-files://localhost"
        if self.broker_password is None:
            return self.broker_url
        url = urlsplit(self.broker_url)
        user, _, place = url.netloc.rpartition("@")
        secret = quote(self.broker_password.get_secret_value(), safe="")
        return url._replace(netloc=f"{user}:{secret}@{place}").geturl()

    @property
    def broker_folder(self) -> Path:
        """Folder of the broker that needs no service."""
        return self.home / "broker"

    @property
    def scratch_folder(self) -> Path:
        """Folder of temporary files."""
        return self.home / "scratch"

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


class Server(Group):
    """Server and keys

    Read by the server alone.
    """

    host: str = "127.0.0.1"
    """Address that the server listens on. Beyond loopback it needs a key."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port that the server listens on; 0: one that is free."""
    trusted_proxies: str = "127.0.0.1,::1"
    """Addresses or networks of proxies, separated by commas, that may name a request's origin and scheme;
    `*`: all."""
    server_processes: Annotated[int, Field(ge=1, le=64)] = 1
    """Number of server processes. One for each processor pays where many clients poll."""
    api_key: Secret | None = None
    """The operator's key. Where it is set, every request but health checks needs a key. Of a worker with
    DFAD_SERVER: the key that it shows there."""
    key_pepper: LongSecret | None = None
    """Secret that the keys of the database are hashed with; the same for all servers. Not set: one is
    generated in the folder DFAD_HOME."""
    quotas: dict[str, Quota] = Field(default={})
    """Bounds of tenants, as JSON; `*` is everybody:
    `{"*": {"queued_jobs": 100}, "acme": {"running_jobs": 4}}`. Read by workers as well. Those that are set
    while the service runs (`PUT /quotas/{tenant_id}`) go before."""
    max_upload_bytes: Bytes = 4 * 2**30
    """Size of the largest teacher file; counted while it arrives."""
    max_json_bytes: Annotated[int, Field(ge=1024)] = 1 * 2**20
    """Size of the largest JSON body or `spec` part."""
    max_job_memory_bytes: Bytes = 64 * 2**30
    """Memory of the largest worker. A job whose spec alone shows that it needs more is refused."""
    upload_part_bytes: Bytes = 8 * 2**20
    """Size of a part of an upload; more where a file would need over 10,000 of them."""
    upload_hours: Annotated[float, Field(gt=0, le=876_000)] = 24
    """Hours after which an upload in parts is deleted if no part arrives."""
    upload_stall_seconds: Seconds = 60
    """Seconds without a byte after which a request's body is given up."""
    sse_keep_alive_seconds: Annotated[float, Field(gt=0, le=3600)] = 15
    """Seconds between comments in an event stream without news, so that no proxy closes it."""

    @property
    def is_loopback(self) -> bool:
        """Whether programs of this machine alone can connect to `host`."""
        return is_loopback(self.host)


class Storage(Group):
    """Storage and retention

    The same for servers and workers.
    """

    artifact_store: Literal["database", "filesystem", "s3"] = "database"
    """Where bytes are kept: in the database beside the jobs, in a folder, or in an object store."""
    artifact_folder: Path | None = None
    """Folder of the `filesystem` store. Not set: `artifacts` in the folder DFAD_HOME."""
    s3_url: str | None = None
    """Bucket and prefix of the `s3` store: `s3://bucket/prefix`. What is not set here comes from the usual
    AWS_* variables."""
    s3_access_key_id: str | None = None
    """Id of the object store's key."""
    s3_secret_access_key: Secret | None = None
    """The object store's key."""
    s3_endpoint: str | None = None
    """Address of an object store that is not Amazon's: `http://rustfs:9000`."""
    retention_days: Days | None = None
    """Days after a job's end until it is deleted with its artifacts, unless it is kept (`keep`); then
    teachers without a job are deleted as well. Not set: never."""
    audit_days: Days = 400
    """Days until a line of the audit is deleted: a year, and time to look at it."""

    @model_validator(mode="after")
    def _store_is_named(self) -> Self:
        if self.artifact_store == "s3" and self.s3_url is None:
            raise ValueError("DFAD_S3_URL must say where the s3 store is")
        if (self.s3_access_key_id is None) != (self.s3_secret_access_key is None):
            raise ValueError("DFAD_S3_ACCESS_KEY_ID and DFAD_S3_SECRET_ACCESS_KEY belong together")
        return self


class Jobs(Group):
    """Jobs and leases

    The same for servers and workers. The times of a lease follow from one: a worker renews a lease after a
    sixth of it, stops its own runner after two thirds without a renewal, and looks for lapsed leases of
    others after a quarter.
    """

    lease_seconds: Annotated[float, Field(ge=3, le=3600)] = 60
    """Seconds until the job of a lost worker goes on elsewhere, and a little more."""
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 3
    """Number of attempts before a job fails whose worker or runner was lost."""
    retry_backoff_seconds: Annotated[float, Field(ge=0, le=3600)] = 10
    """Seconds before the second attempt; twice as many before each further one, with jitter."""
    republish_seconds: Seconds = 60
    """Seconds after which a queued job that no worker has claimed is announced again."""

    @property
    def heartbeat_seconds(self) -> float:
        """Seconds between two renewals of a lease, and between two signs of life of a worker."""
        return self.lease_seconds / 6

    @property
    def self_fence_seconds(self) -> float:
        """Seconds without a renewal after which a supervisor stops its runner by itself."""
        return self.lease_seconds * 2 / 3

    @property
    def reaper_seconds(self) -> float:
        """Seconds between two looks for lapsed leases and unsent messages."""
        return self.lease_seconds / 4


class Worker(Group):
    """Workers and runners

    Read by workers alone. A runner is the process that trains.
    """

    server: str | None = None
    """Address of a server (`https://…`) that a worker gets its jobs from, with a key of the scope `worker` in
    DFAD_API_KEY: it has no database, no broker and no store then. `http://` for this machine alone."""
    worker_devices: tuple[Literal["auto", "cpu", "cuda"], ...] = ()
    """Devices of the jobs that a worker takes, as JSON: `["auto", "cuda"]` keeps a GPU for jobs that can use
    it. Empty: all that its machine can run."""
    worker_idle_seconds: Seconds | None = None
    """Seconds without work after which a worker ends, with exit code 0; more than DFAD_REPUBLISH_SECONDS and
    a lease. For workers that are started by need. Not set: it waits for ever."""
    runner_threads: Annotated[int, Field(ge=0, le=4096)] = 0
    """CPU threads of a runner. 0: the processors that it may use, shared among the workers of this machine
    that use the same ones."""
    runner_memory_bytes: Bytes | None = None
    """Memory of a runner. One that holds more is killed before the machine runs out. Not set: none is, and
    batches are cut to the memory there is, or to a share of it among the workers that have the same."""
    checkpoint_seconds: Seconds = 60
    """Seconds of training between checkpoints."""
    stop_grace_seconds: Annotated[float, Field(gt=0, le=3600)] = 20
    """Seconds between asking a runner to stop and killing it."""
    watchdog_seconds: Seconds = 600
    """Seconds without a message after which a runner counts as hanging and is killed. It sends one at every
    step of training and at every batch of its evaluation."""

    @field_validator("server")
    @classmethod
    def _encrypted(cls, address: str | None) -> str | None:
        if address is None:
            return None
        try:
            url = urlsplit(address)
            host = url.hostname or ""
        except ValueError:
            host = ""
        if not host or url.scheme not in ("https", "http") or url.query or url.fragment or url.username:
            raise ValueError("it must be an address like https://dfad.example")
        if url.scheme == "http" and not is_loopback(host):
            raise ValueError("a key and models travel there: it must begin with https://")
        return address.rstrip("/")


class Webhooks(Group):
    """Webhooks

    The same for servers and workers; workers send.
    """

    webhook_allow: tuple[str, ...] = ()
    """Hosts, addresses and networks that webhooks may reach beside public ones, as JSON:
    `["hooks.internal", "10.1.0.0/16"]`."""
    webhook_key: LongSecret | None = None
    """Key that the secrets of webhooks are encrypted with. Not set: they are stored as they are."""
    webhook_timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 10
    """Seconds of one try, from the look-up of the host to the answer."""
    webhook_retry_seconds: tuple[Seconds, ...] = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
    """Seconds between the tries of one message, as JSON; three days in all, as Standard Webhooks has them."""
    webhook_senders: Annotated[int, Field(ge=0, le=64)] = 8
    """Number of messages that one worker sends at once; 0: it sends none."""
    webhook_log_days: Days = 30
    """Days until a line of the log of deliveries is deleted."""

    @field_validator("webhook_allow")
    @classmethod
    def _hosts_or_networks(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        parse_allowed(entries)
        return entries


class Logs(Group):
    """Logs and traces

    Read by every program.
    """

    log_format: Literal["auto", "json", "text"] = "auto"
    """Form of log lines; `auto`: text on a terminal, JSON elsewhere."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is logged. At `info` every request but health checks has a line."""
    otel: bool | None = None
    """Whether spans are sent (OpenTelemetry). Not set: if there is an address for them. The usual OTEL_*
    variables say more."""
    otlp_endpoint: str | None = Field(
        default=None,
        validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
    )
    """Address that spans are sent to."""
    revision: str | None = None
    """Revision of the sources that this was built from, for manifests. Not set: that of the checkout, if it
    is one."""


GROUPS: tuple[type[BaseModel], ...] = (Places, Server, SignIn, Storage, Jobs, Worker, Webhooks, Logs)
"""All groups, in the order of the reference."""
