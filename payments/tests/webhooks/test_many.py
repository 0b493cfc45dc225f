"""Many events for many endpoints, some of them dead: none is lost, and each endpoint's order is kept."""

import time

import pytest

from fintech.testing.processes import IN_FULL, free_port
from payments.models import WebhookAttempt, WebhookDelivery
from payments.tests.webhooks.receiver import running_receiver
from payments.webhooks.endpoints import create_endpoint
from payments.webhooks.retries import PAUSED_AFTER_FAILURES

ENDPOINTS, DEAD = 50, 5
EVENTS = 2_000 if IN_FULL else 8  # for each endpoint


@pytest.mark.slow
def test_events_of_fifty_endpoints_arrive_in_order_while_five_are_dead(make_other, queue, deliverer):
    with running_receiver() as receiver:
        port = free_port()
        places = [receiver.url(f"/{n}") for n in range(DEAD, ENDPOINTS)]
        places += [f"http://127.0.0.1:{port}/{n}" for n in range(DEAD)]
        endpoints = [create_endpoint(merchant_id=make_other().pk, url=place)[0] for place in places]
        queue(*endpoints, number=EVENTS)

        start = time.monotonic()
        while deliverer.start_turns():
            deliverer.wait()
        seconds = time.monotonic() - start

        wanted = (ENDPOINTS - DEAD) * EVENTS
        print(f"{wanted} webhooks in {seconds:.1f} s: {wanted / seconds:.0f} a second")
        arrived: dict[str, list[int]] = {}
        for request in receiver.received:
            arrived.setdefault(request.path, []).append(request.event["data"]["number"])
        assert arrived == {f"/{n}": list(range(EVENTS)) for n in range(DEAD, ENDPOINTS)}
        waiting = WebhookDelivery.objects.filter(endpoint__in=endpoints[-DEAD:])
        assert set(waiting.values_list("status", flat=True)) == {"pending"}
        # Few, however many events wait: the endpoints pause.
        tries = WebhookAttempt.objects.filter(delivery__in=waiting).count()
        assert DEAD * PAUSED_AFTER_FAILURES <= tries <= DEAD * (PAUSED_AFTER_FAILURES + 2)

        # The dead ones return.
        with running_receiver(port=port) as returned:
            for endpoint in endpoints[-DEAD:]:
                endpoint.deliveries.update(due_at=endpoint.created_at)
                type(endpoint).objects.filter(pk=endpoint.pk).update(retry_at=None)
            while deliverer.start_turns():
                deliverer.wait()
            assert len(returned.received) == DEAD * EVENTS
            for number in range(DEAD):
                sent = [one.event["data"]["number"] for one in returned.received if one.path == f"/{number}"]
                assert sent == list(range(EVENTS))
