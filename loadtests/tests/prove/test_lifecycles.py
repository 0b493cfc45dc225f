"""Load of every operation, while processes are killed: the books equal the gateway's record and the counters."""

import pytest

from fintech.testing.processes import IN_FULL, wait_until
from loadtests.own_platform import own_platform
from loadtests.prove.kills import count_operations, kill_for, look_at_books
from loadtests.prove.lifecycles import Lifecycles

pytestmark = pytest.mark.processes

SECONDS = 600 if IN_FULL else 12
SHORT = {
    "GATEWAY_TIMEOUT_SECONDS": "1.5",
    "GATEWAY_DEADLINE_SECONDS": "2",
    "LEASE_SECONDS": "2.5",
    "THROTTLE_RATE": "100000",
    "THROTTLE_BURST": "100000",
}


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 300)
def test_after_kills_under_mixed_load_the_books_are_right(tmp_path):
    with own_platform(tmp_path, postgres={}, env=SHORT) as own:
        with Lifecycles(own, merchants=4, has_disputes=True):
            kills = kill_for(own, SECONDS)
            wait_until(lambda: all(count_operations(own).values()), 60, lambda: f"all of {count_operations(own)}")

        found = look_at_books(own)

    print({"kills": kills, **found})
    assert kills
    assert found["findings"] == []
    assert not any(found["drift"].values())
