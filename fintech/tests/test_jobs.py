"""One worker leads at a time, and another one takes over from it."""

from collections.abc import Iterator

import pytest

from fintech.jobs import Leader
from fintech.testing.processes import wait_until


@pytest.fixture
def leaders() -> Iterator[tuple[Leader, Leader]]:
    """Two workers, of which the first leads."""
    first, second = Leader(), Leader()
    wait_until(lambda: keeps(first), what="no worker of another test leads")
    yield first, second
    first.resign()
    second.resign()


def keeps(leader: Leader) -> bool:
    """Check once more, and return whether it leads."""
    leader.keep()
    return leader.leading


def lose_session(leader: Leader) -> None:
    assert leader._session is not None
    leader._session.close()


def test_a_second_worker_does_not_lead_while_the_first_does(leaders):
    first, second = leaders

    for _ in range(3):
        first.keep()
        second.keep()

    assert (first.leading, second.leading) == (True, False)


def test_a_worker_that_takes_over_waits_until_the_last_one_has_noticed_that_it_lost_the_lock(leaders):
    """Both exported the totals of retired hosts, and a scrape had them twice."""
    first, second = leaders
    second.keep()
    lose_session(first)
    wait_until(lambda: keeps(second) or second._has_lock, what="the second worker has the lock")
    assert (first.leading, second.leading) == (True, False)

    first.keep()
    assert not first.leading

    wait_until(lambda: keeps(second), what="the second worker leads")
    first.keep()
    assert not first.leading


def test_each_lead_begins_with_the_preparations(leaders):
    leader, _ = leaders
    begun: list[bool] = []
    leader.before_leading.append(lambda: begun.append(leader.leading))

    lose_session(leader)
    wait_until(lambda: keeps(leader) and begun, what="it leads again")
    leader.keep()

    assert begun == [False]


def test_a_worker_that_resigns_leaves_the_lock_to_another_one(leaders):
    first, second = leaders
    second.keep()

    first.resign()

    wait_until(lambda: keeps(second), what="the second worker leads")
    assert not first.leading
