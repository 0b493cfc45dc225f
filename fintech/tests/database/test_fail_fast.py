import psycopg
import pytest
from django.db import OperationalError

from fintech.database import fail_fast
from fintech.database.fail_fast import FAILED_SECONDS, FailFast


@pytest.mark.parametrize("error", [OperationalError, psycopg.OperationalError], ids=["django", "psycopg"])
def test_after_a_database_error_no_query_is_made_for_a_moment(monkeypatch, error):
    now = [1000.0]
    monkeypatch.setattr(fail_fast.time, "monotonic", lambda: now[0])
    failing, queries = FailFast(), []
    with pytest.raises(error), failing.guard():
        raise error

    with pytest.raises(OperationalError, match="a moment ago"), failing.guard():
        queries.append(1)
    now[0] += FAILED_SECONDS
    with failing.guard():
        queries.append(2)

    assert queries == [2]


def test_an_error_that_is_not_the_databases_does_not_stop_queries():
    failing = FailFast()
    with pytest.raises(ValueError, match="ours"), failing.guard():
        raise ValueError("ours")

    with failing.guard():
        pass
