"""A receiver, a deliverer of this process, and an outbox that follows the session's journal."""

import secrets
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from uuid_utils.compat import uuid7

from payments.models import Merchant, WebhookDelivery, WebhookEndpoint, WebhookEvent
from payments.tests.journal import read_all
from payments.tests.webhooks.receiver import Receiver, running_receiver
from payments.webhooks.delivery import Deliverer
from payments.webhooks.endpoints import create_endpoint
from payments.webhooks.outbox import Outbox
from payments.webhooks.transport import Transport


@pytest.fixture(autouse=True)
def _to_loopback(settings) -> None:
    settings.WEBHOOKS_TO_LOOPBACK = True


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as running:
        yield running


@pytest.fixture
def deliverer() -> Iterator[Deliverer]:
    made = Deliverer()
    yield made
    made.stop()


@pytest.fixture
def endpoint(merchant: Merchant, receiver: Receiver) -> WebhookEndpoint:
    made, _ = create_endpoint(merchant_id=merchant.pk, url=receiver.url())
    return made


@pytest.fixture(scope="session")
def outbox() -> Outbox:
    return Outbox()


@pytest.fixture
def announce(outbox: Outbox) -> Callable[[], None]:
    """Announce all that the journal holds now."""
    return partial(read_all, outbox)


@pytest.fixture(autouse=True)
def _nothing_waits() -> Iterator[None]:
    """Disable the endpoints of a test at its end, so that the next test's deliverer has only its own."""
    yield
    WebhookEndpoint.objects.filter(is_enabled=True).update(is_enabled=False, disabled_because="merchant")


@pytest.fixture
def queue(merchant: Merchant) -> Callable[..., list[WebhookEvent]]:
    """Announce test events to endpoints, in their order."""

    def run(*endpoints: WebhookEndpoint, number: int = 1) -> list[WebhookEvent]:
        events = [
            WebhookEvent(id=uuid7(), merchant=merchant, type="webhook_endpoint.test", data={"number": place})
            for place in range(number)
        ]
        WebhookEvent.objects.bulk_create(events)
        WebhookDelivery.objects.bulk_create(
            (WebhookDelivery(endpoint=endpoint, event=event) for event in events for endpoint in endpoints),
            batch_size=1_000,  # one statement for all of 100,000 takes longer than it may
        )
        return events

    return run


@pytest.fixture
def deliver_by() -> Callable[[Callable[[], Transport]], None]:
    """Run one turn for each endpoint over another transport."""

    def run(transport: Callable[[], Transport]) -> None:
        made = Deliverer(transport)
        made.start_turns()
        made.wait()
        made.stop()

    return run


@pytest.fixture
def deliver(deliverer: Deliverer) -> Callable[[], None]:
    """Run turns until nothing is due."""

    def run() -> None:
        while deliverer.start_turns():
            deliverer.wait()

    return run


@pytest.fixture
def make_other() -> Callable[[], Merchant]:
    return lambda: Merchant.objects.create(name=f"Other {secrets.token_hex(12)}", country="DE")
