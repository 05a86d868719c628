"""What webhooks are owed, as the database has it."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from app.models import Webhook, WebhookDelivery
from app.models.tenancy import as_system
from app.platform.db import database_now, read_scope

REASONS = ("gone", "failing")


class WebhookCollector(Collector):
    """Reads at every scrape."""

    def collect(self) -> Iterator[Metric]:
        """Two short reads."""
        with as_system(), read_scope() as session:
            now = database_now(session)
            due = WebhookDelivery.next_attempt_at
            query = select(func.count(), func.min(due)).join(
                Webhook, Webhook.id == WebhookDelivery.webhook_id
            )
            query = query.where(WebhookDelivery.status == "pending", Webhook.enabled)
            number, first = session.execute(query).one()
            disabled = select(Webhook.disabled_reason, func.count()).group_by(Webhook.disabled_reason)
            reasons = {reason: found for reason, found in session.execute(disabled).all()}  # noqa: C416
        pending = GaugeMetricFamily("dfad_webhook_pending", "Messages that wait for their next try.")
        pending.add_metric((), number)
        late = GaugeMetricFamily("dfad_webhook_late_seconds", "Since when the most overdue of them is due.")
        late.add_metric((), max(0.0, (now - first).total_seconds()) if first else 0.0)
        off = GaugeMetricFamily(
            "dfad_webhooks_disabled", "By the service itself, by reason.", labels=("reason",)
        )
        for reason in REASONS:
            off.add_metric((reason,), reasons.get(reason, 0))
        yield from (pending, late, off)
