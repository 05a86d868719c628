"""How the broker is reached: the same settings for those who send and those who work."""

from __future__ import annotations

from app.messaging import embedded_broker  # noqa: F401  (kombu learns its scheme)
from app.platform.settings import Settings
from dfad_core.contract.serialization import JsonObject


def broker_settings(settings: Settings) -> JsonObject:
    """Celery settings of the broker. Raises OSError if the embedded broker's folders cannot be made."""
    if settings.broker_url is None:
        queue, control = settings.broker_folder / "queue", settings.broker_folder / "control"
        for folder in (queue, control):
            folder.mkdir(parents=True, exist_ok=True)
        transport: JsonObject = {
            "data_folder_in": str(queue),
            "data_folder_out": str(queue),
            "control_folder": str(control),
            # Seconds between two looks into the folder; kombu's own 1.0 is felt by whoever waits.
            "polling_interval": 0.2,
        }
    else:
        transport = {
            # A message lost with its worker comes back after this long. It may come back while the
            # job still runs: the claim refuses it then.
            "visibility_timeout": 300,
            # A broker that is away must not hold up a request: the outbox sends later.
            "socket_connect_timeout": 2,
            "socket_timeout": 10,
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0.2,
            "interval_max": 0.5,
        }
    return {
        "broker_url": settings.resolved_broker_url,
        "broker_transport_options": transport,
        "broker_connection_retry_on_startup": True,
        # Pickled messages would run code; ids need no more than JSON.
        "task_serializer": "json",
        "accept_content": ["json"],
        # Results live in the database, where the job is.
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "task_default_queue": "dfad",
        "timezone": "UTC",
    }
