"""Sends what webhooks are owed. A thread of every worker, and one for each message under way.

Beside the reconciler and not in it: a receiver that hangs must not hold up the reaper. The threads die with
the process; what they were at is sent again by others once its lease is over.
"""

from __future__ import annotations

import logging
import threading

from sqlalchemy.exc import SQLAlchemyError

from app.platform.settings import get_settings
from app.webhooks.delivery import Owed, claim_due, deliver
from worker.idle import working

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""Between two looks for messages that are due."""


class WebhookSender(threading.Thread):
    """Looks for due messages every POLL_SECONDS, and at once while there are more."""

    def __init__(self) -> None:
        super().__init__(name="webhook-sender", daemon=True)
        self._end = threading.Event()
        self._free = get_settings().webhook_senders
        self._changed = threading.Condition()

    def run(self) -> None:
        """Until the process ends."""
        while not self._end.is_set():
            try:
                found = self._round()
            except SQLAlchemyError as error:
                logger.warning("the database is away (%s); webhooks wait", type(error).__name__)
                found = 0
            except Exception:
                # A round that fails must not end all rounds to come.
                logger.exception("a round of the webhook sender failed")
                found = 0
            if not found:
                self._end.wait(POLL_SECONDS)

    def close(self) -> None:
        """End after the present round."""
        self._end.set()

    def _round(self) -> int:
        """Claim as many messages as there are free threads; how many that were."""
        with self._changed:
            self._changed.wait_for(lambda: self._free > 0, timeout=POLL_SECONDS)
            room = self._free
        if not room:
            return 0
        claimed = claim_due(room)
        for owed in claimed:
            self._begin(owed)
        return len(claimed)

    def _begin(self, owed: Owed) -> None:
        with self._changed:
            self._free -= 1
        try:
            threading.Thread(target=self._deliver, args=(owed,), name=owed.id, daemon=True).start()
        except RuntimeError as error:
            # The machine has no thread to give just now. Its place must not be lost as well.
            logger.warning("%s; the message is sent when its lease is over", error, extra=_ids(owed))
            with self._changed:
                self._free += 1

    def _deliver(self, owed: Owed) -> None:
        try:
            with working():
                outcome = deliver(owed)
        except SQLAlchemyError as error:
            # It is sent again, under the same id, when its lease is over.
            logger.warning("the database is away (%s)", type(error).__name__, extra=_ids(owed))
        except Exception:
            logger.exception("the webhook sender failed", extra=_ids(owed))
        else:
            said = outcome.error or "delivered"
            logger.info("try %d: %s", owed.attempt, said, extra=_ids(owed))
        finally:
            with self._changed:
                self._free += 1
                self._changed.notify()


def _ids(owed: Owed) -> dict[str, str]:
    """What log lines about it carry."""
    return {"webhook_id": owed.webhook_id, "delivery_id": owed.id}
