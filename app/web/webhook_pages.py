"""Pages of webhooks: the same services as the contract's, and no script needed.

A secret is shown in the answer that made it. The form to add one carries an idempotency key, so that a page
that is loaded again makes no second webhook.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import ValidationError

from app.http.pagination import page as page_of
from app.http.parameters import DeliveryId, WebhookId
from app.http.problems import invalid_body
from app.models import Webhook, WebhookDelivery
from app.platform.db import read_scope
from app.platform.errors import FieldProblem, ServiceError
from app.web.rendering import page
from app.webhooks import service
from app.webhooks.owing import EventName
from app.webhooks.queries import deliveries_of, webhooks_of
from app.webhooks.schemas import ENDS, WebhookPatch, WebhookRequest

router = APIRouter(include_in_schema=False)

ROWS = 25
EVENTS = ("job.*", *get_args(EventName))
FIELDS = ("url", "events", "description")
MOST_TEXT = 4096


def _switch(enabled: bool) -> Callable[[str, str], object]:
    return lambda webhook_id, tenant_id: service.patch(webhook_id, tenant_id, WebhookPatch(enabled=enabled))


ACTIONS: dict[str, Callable[[str, str], object]] = {
    "test": lambda webhook_id, tenant_id: service.send_test(webhook_id, tenant_id, None),
    "enable": _switch(True),
    "disable": _switch(False),
}


@router.get("/ui/webhooks")
def webhooks_page(request: Request) -> Response:
    """The tenant's webhooks, and a form to add one."""
    return _listed(request, {"events": ENDS, "url": "", "description": ""}, {})


def _listed(request: Request, given: dict[str, Any], faults: dict[str, str], status: int = 200) -> Response:
    with read_scope() as session:
        newest_first = webhooks_of(request.state.tenant_id).order_by(Webhook.id.desc())
        found = [service.shown(webhook) for webhook in session.scalars(newest_first)]
    key = given.get("key") or secrets.token_hex(16)
    values = {"webhooks": found, "events": EVENTS, "given": {**given, "key": key}, "faults": faults}
    return page(request, "webhooks.html", http_status=status, **values)


@router.post("/ui/webhooks")
def add(
    request: Request,
    url: Annotated[str, Form(max_length=MOST_TEXT)] = "",
    description: Annotated[str, Form(max_length=MOST_TEXT)] = "",
    key: Annotated[str, Form(max_length=64)] = "",
    events: Annotated[list[str] | None, Form()] = None,
) -> Response:
    """Add one and show its secret, or say at each field what is wrong."""
    given = {"url": url.strip(), "description": description.strip(), "events": events or []}
    try:
        made = service.create(request.state.tenant_id, WebhookRequest.model_validate(given), key or None)
        webhook = service.view_with_secret(made, request.state.tenant_id)
    except ValidationError as error:
        refusal = invalid_body(error)
        return _listed(request, {**given, "key": key}, _at_fields(refusal.errors), refusal.status)
    except ServiceError as refusal:
        return _listed(request, given, {"": refusal.detail}, refusal.status)
    answer = page(request, "webhook_secret.html", http_status=201, webhook=webhook, rotated=False)
    answer.headers["Location"] = f"/ui/webhooks/{made}"
    return answer


def _at_fields(problems: tuple[FieldProblem, ...]) -> dict[str, str]:
    """What is wrong, by the field where it is said; under no name what belongs to none."""
    found: dict[str, str] = {}
    for problem in problems:
        field = problem.pointer.split("/")[1] if problem.pointer else ""
        found.setdefault(field if field in FIELDS else "", problem.detail)
    return found


@router.get("/ui/webhooks/{webhook_id}")
def webhook_page(request: Request, webhook_id: WebhookId, after: str | None = None) -> Response:
    """One webhook and its log."""
    return page(request, "webhook.html", **_shown(request, webhook_id, after))


@router.get("/ui/webhooks/{webhook_id}/log")
def log_part(request: Request, webhook_id: WebhookId, after: str | None = None) -> Response:
    """The log alone, to renew it."""
    return page(request, "_deliveries.html", **_shown(request, webhook_id, after))


def _shown(request: Request, webhook_id: str, after: str | None) -> dict[str, Any]:
    query = deliveries_of(webhook_id)
    with read_scope() as session:
        webhook = service.get_webhook(session, webhook_id, request.state.tenant_id)
        rows, more = page_of(
            session, query, WebhookDelivery.id, prefix="dlv", after=after or None, limit=ROWS
        )
    return {
        "webhook": service.shown(webhook), "deliveries": [service.shown_delivery(row[0]) for row in rows],
        "more": more, "after": after or "", "overlap": service.OVERLAP_HOURS,
    }  # fmt: skip


@router.post("/ui/webhooks/{webhook_id}/delete")
def delete(request: Request, webhook_id: WebhookId) -> Response:
    """Forget it."""
    service.remove(webhook_id, request.state.tenant_id)
    return RedirectResponse("/ui/webhooks", 303)


@router.post("/ui/webhooks/{webhook_id}/rotate-secret")
def rotate(request: Request, webhook_id: WebhookId) -> Response:
    """A new secret, shown here alone."""
    try:
        service.rotate(webhook_id, request.state.tenant_id, service.OVERLAP_HOURS)
    except ServiceError as refusal:
        return _refused(request, webhook_id, refusal)
    webhook = service.view_with_secret(webhook_id, request.state.tenant_id)
    return page(request, "webhook_secret.html", webhook=webhook, rotated=True)


@router.post("/ui/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver")
def redeliver(request: Request, webhook_id: WebhookId, delivery_id: DeliveryId) -> Response:
    """Send it again."""
    service.redeliver(delivery_id, webhook_id, request.state.tenant_id)
    return RedirectResponse(f"/ui/webhooks/{webhook_id}", 303)


@router.post("/ui/webhooks/{webhook_id}/{action}")
def act(request: Request, webhook_id: WebhookId, action: str) -> Response:
    """Test, enable or disable."""
    if action not in ACTIONS:
        raise ServiceError(404, "not_found", "There is no such action.")
    try:
        ACTIONS[action](webhook_id, request.state.tenant_id)
    except ServiceError as refusal:
        return _refused(request, webhook_id, refusal)
    return RedirectResponse(f"/ui/webhooks/{webhook_id}", 303)


def _refused(request: Request, webhook_id: str, refusal: ServiceError) -> Response:
    about = {"problem": refusal.detail, "back": f"/ui/webhooks/{webhook_id}", "where": "webhook"}
    return page(request, "refused.html", http_status=refusal.status, **about)
