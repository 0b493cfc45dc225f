"""A gateway that sends signed events to a view of this process, and a worker's turn that processes them."""

import json
import secrets
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone
from prometheus_client import REGISTRY

from loadtests.stripe.app import sign as sign_as_stripe
from payments.gateway_events.inbox import process
from payments.models import GatewayEvent
from payments.webhooks.signing import sign

PATH = "/gateway/events"


class Sender:
    """The gateway's side. `ids` are those of the events that were sent."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def send(
        self,
        event_type: str = "test.unknown",
        data: Any = None,
        *,
        identifier: str | None = None,
        body: bytes | None = None,
        secret: str | None = None,
        at: datetime | None = None,
        **headers: str,
    ) -> Any:
        """Send one event; `headers` replace the right ones, and an empty one is left out."""
        identifier = identifier or f"evt_{secrets.token_hex(12)}"
        self.ids.append(identifier)
        content = json.dumps({"type": event_type, "data": data or {}}).encode() if body is None else body
        key = settings.GATEWAY_WEBHOOK_SECRET if secret is None else secret
        signed = sign([key], identifier, at or timezone.now(), content)
        sent = {name: value for name, value in ({**signed, **headers}).items() if value}
        return Client().post(PATH, content, content_type="application/json", headers=sent)

    def process(self) -> list[str | None]:
        """Process what this sender sent and is not done, also in its pauses. Returns the outcomes, None for waiting."""
        for event in GatewayEvent.objects.filter(identifier__in=self.ids, processed_at=None).order_by("id"):
            process(event)
        return list(
            GatewayEvent.objects.filter(identifier__in=self.ids).order_by("id").values_list("outcome", flat=True)
        )

    def finish(self) -> None:
        """Leave nothing due for the workers of other tests."""
        waiting = GatewayEvent.objects.filter(identifier__in=self.ids, processed_at=None)
        waiting.update(outcome="ignored", processed_at=Now())

    def stored(self) -> list[GatewayEvent]:
        return list(GatewayEvent.objects.filter(identifier__in=self.ids).order_by("id"))


class StripeSender(Sender):
    """Stripe's side: each call is another event about an object."""

    def send(self, event_type: str, data: Any) -> Any:  # type: ignore[override]  # its events are always well-formed
        identifier = f"evt_{secrets.token_hex(12)}"
        self.ids.append(identifier)
        content = {"id": identifier, "object": "event", "type": event_type, "data": {"object": data}}
        body = json.dumps(content).encode()
        headers = sign_as_stripe(settings.STRIPE_WEBHOOK_SECRET, identifier, int(time.time()), body)
        signed = {"Stripe-Signature": headers["Stripe-Signature"]}
        return Client().post(f"{PATH}/stripe", body, content_type="application/json", headers=signed)


@pytest.fixture
def sender() -> Iterator[Sender]:
    made = Sender()
    yield made
    made.finish()


@pytest.fixture
def later() -> Callable[[int], datetime]:
    return lambda seconds: timezone.now() + timedelta(seconds=seconds)


@pytest.fixture
def refusals(caplog: pytest.LogCaptureFixture) -> Callable[[], int]:
    """Count the events that were refused since the test began. The metric of the alert and the errors must agree."""

    def counted() -> float:
        return REGISTRY.get_sample_value("gateway_events_processed_total", {"outcome": "refused"}) or 0.0

    before = counted()

    def count() -> int:
        errors = [
            record for record in caplog.records if (record.message, record.levelname) == ("gateway_event", "ERROR")
        ]
        assert len(errors) == counted() - before
        return len(errors)

    return count
