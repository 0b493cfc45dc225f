"""Whatever happens at Stripe, or its fake, the books are right. A file of its own: another process can run it."""

import pytest

from fintech.testing.processes import IN_FULL
from loadtests.tests.simulator import FakeStripe, running
from payments.gateway.routing import Routes
from payments.tests.services.acquirers import AtStripe
from payments.tests.services.state_machine import run

pytestmark = [
    pytest.mark.processes,
    pytest.mark.slow,
    pytest.mark.timeout(3600 if IN_FULL else 600),
    pytest.mark.usefixtures("epoch_of_its_own", "impatient_gateways"),
]


def test_whatever_happens_at_stripe_the_books_are_right(tmp_path, monkeypatch):
    monkeypatch.setattr("payments.services.pending.routes", Routes({}, AtStripe.name))
    with running(FakeStripe(tmp_path / "stripe.sqlite3")) as fake:
        run(AtStripe(fake), examples=150 if IN_FULL else 3)
