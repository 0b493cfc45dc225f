"""Whatever happens at the simulator, the books are right."""

import pytest

from fintech.testing.processes import IN_FULL
from payments.tests.services.acquirers import AtSimulator
from payments.tests.services.state_machine import run

pytestmark = [
    pytest.mark.processes,
    pytest.mark.slow,
    pytest.mark.timeout(3600 if IN_FULL else 600),
    pytest.mark.usefixtures("epoch_of_its_own", "impatient_gateways"),
]


def test_whatever_happens_the_books_are_right(gateway):
    run(AtSimulator(gateway), examples=400 if IN_FULL else 8)
