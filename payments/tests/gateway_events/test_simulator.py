"""The simulator's own events, applied by the worker of a platform.

A file of its own: this worker's resolver would settle the unknown payments of other tests.
"""

import pytest

from fintech.testing.processes import wait_until
from payments.tests.consistency import check_books, settled
from payments.tests.gateway_events.test_decisions import LOST_REPLY, actors

pytestmark = pytest.mark.processes


def test_the_simulator_sends_late_outcomes_that_reach_a_payment_before_the_resolver(client, platform, gateway):
    gateway.profile(late_events=True, events_url=f"{platform.url}/gateway/events", cancel_fails=True)
    try:
        charged = client.pay(LOST_REPLY).body["id"]
        held = client.pay(LOST_REPLY, capture=False).body["id"]
        wait_until(
            lambda: (
                client.get(f"/v1/transactions/{charged}").body["status"] == "succeeded"
                and client.get(f"/v1/transactions/{held}").body["status"] == "authorized"
            ),
            timeout=60,
            what="the events settled both payments",
        )
    finally:
        gateway.profile(late_events=False, events_url=None, cancel_fails=False)
    assert (actors(charged)[-1], actors(held)[-1]) == (("succeeded", "gateway"), ("authorized", "gateway"))
    settled(client.merchant)
    check_books(gateway, client.merchant)
