"""A real streaming replica answers lists, and never lacks what was committed before the request."""

import json
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, OpenerDirector, Request, build_opener

import psycopg
import pytest
from django.db import connections

from fintech.database import replica
from fintech.run.postgres import EmbeddedPostgres
from fintech.testing.processes import wait_until
from fintech.testing.replication import promote
from payments.models import Transaction
from payments.tests.own_platform import OwnPlatform, replicated_platform

pytestmark = pytest.mark.in_order
processes = pytest.mark.processes

LIST = 'SELECT "payments_transaction"."id"%'
# A read waits this long before the primary answers: long enough for a busy machine.
ENV = {"DATABASE_REPLICA_WAIT_SECONDS": "5", "LOG_LEVEL": "INFO"}


class Replicated:
    """A platform with a replica, as its clients and its operators see it."""

    def __init__(self, own: OwnPlatform, standby: EmbeddedPostgres) -> None:
        self.own, self.standby = own, standby

    def listed(self, **filters: str) -> list[dict[str, Any]]:
        query = "&".join(f"{name}={value}" for name, value in filters.items())
        reply = self.own.platform.request("GET", f"/v1/transactions?{query}", api_key=self.own.api_key)
        assert reply.status == 200, reply
        found: list[dict[str, Any]] = reply.body["data"]
        return found

    @cache  # noqa: B019 - as long as its platform
    def administrator(self) -> OpenerDirector:
        """Log in to the admin, and return a browser with the session."""
        cookies = CookieJar()
        browser = build_opener(HTTPCookieProcessor(cookies))
        address = f"{self.own.platform.url}/admin/login/"
        browser.open(address, timeout=30).close()
        token = next(cookie.value for cookie in cookies if cookie.name == "csrftoken")
        password = (self.own.platform.directory / "admin_password").read_text().strip()
        form = {"username": "admin", "password": password, "csrfmiddlewaretoken": token, "next": "/health"}
        browser.open(Request(address, urlencode(form).encode(), {"Referer": address}), timeout=30).close()
        return browser

    def reads(self, outcome: str) -> float:
        return self.own.platform.scrape()[f'database_replica_reads_total{{outcome="{outcome}"}}']

    def lag(self) -> float | None:
        return self.own.platform.scrape(self.own.platform.worker_port).get("database_replica_lag_seconds")

    def outcomes(self) -> list[str]:
        """Return the changes that the web processes have logged."""
        lines = self.own.platform.web.output().splitlines()
        return [json.loads(line)["outcome"] for line in lines if '"replica_reads"' in line]

    @contextmanager
    def replay_paused(self) -> Iterator[None]:
        with psycopg.connect(self.standby.url("postgres", "postgres"), autocommit=True) as connection:
            connection.execute("SELECT pg_wal_replay_pause()")
            paused = "SELECT pg_get_wal_replay_pause_state()"
            wait_until(lambda: connection.execute(paused).fetchone() == ("paused",), what="replay is paused")
            yield
            connection.execute("SELECT pg_wal_replay_resume()")


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicated]:
    folder: Path = tmp_path_factory.mktemp("replica")
    with replicated_platform(folder, synchronous=False, replica=True, env=ENV) as (own, standby):
        yield Replicated(own, standby)


@processes
def test_a_list_right_after_a_payment_shows_it_whichever_process_answers(it):
    def pay_and_list(number: int) -> None:
        key = secrets.token_hex(8)
        paid = it.own.pay(1000 + number, key=key).body
        assert it.listed(idempotency_key=key) == [paid]

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(pay_and_list, range(40)))
    assert it.reads("replica") >= 1
    assert it.reads("replica") + it.reads("behind") + it.reads("unavailable") == 40


@processes
def test_the_replica_executes_the_statements_of_a_list(it):
    """Not only their check: the server itself says so."""
    last = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE %s"
    with psycopg.connect(it.standby.url("postgres", "fintech"), autocommit=True) as connection:

        def lists_seen() -> bool:
            it.listed()
            return connection.execute(last, [LIST]).fetchone() != (0,)

        wait_until(lists_seen, what="the replica shows a list as the last query of a session")


@processes
@pytest.mark.parametrize(
    "page",
    [
        "/admin/payments/transaction/",
        "/admin/payments/ledgerleg/",
        "/admin/alerts_audit/episode/",
        "/admin/alerts_audit/delivery/",
        "/v1/alerts/episodes",
        "/v1/alerts/episodes/export?format=csv",
        "/v1/alerts/statistics",
    ],
)
def test_people_read_lists_exports_and_statistics_from_the_replica(it, page):
    before = it.reads("replica")
    with it.administrator().open(it.own.platform.url + page, timeout=30) as answer:
        assert (answer.status, answer.read() != b"") == (200, True)
    assert it.reads("replica") + it.reads("behind") + it.reads("unavailable") > before
    assert it.reads("unavailable") == 0


@processes
def test_a_payment_by_its_id_and_a_repeated_key_are_read_from_the_primary(it):
    before = it.reads("replica") + it.reads("behind") + it.reads("unavailable")
    paid = it.own.pay(key="by-id")
    path = f"/v1/transactions/{paid.body['id']}"
    assert it.own.platform.request("GET", path, api_key=it.own.api_key).body == paid.body
    assert it.own.pay(key="by-id").headers["Idempotency-Replayed"] == "true"
    assert it.reads("replica") + it.reads("behind") + it.reads("unavailable") == before


@processes
def test_a_replica_that_is_behind_does_not_answer_and_its_lag_is_a_metric(it):
    wait_until(lambda: it.lag() == 0, timeout=30, what="the leader has measured that nothing is missing")
    with it.replay_paused():
        paid = it.own.pay(key="behind").body
        assert it.listed(idempotency_key="behind") == [paid]
        assert it.reads("behind") >= 1
        wait_until(lambda: (it.lag() or 0) > 0, timeout=30, what="the lag is above 0")

    def answers_again() -> bool:
        it.listed()
        return it.outcomes().count("replica") == it.outcomes().count("behind") > 0

    wait_until(answers_again, timeout=30, what="each process that left the replica uses it again")
    wait_until(lambda: it.lag() == 0, timeout=30, what="the lag is 0 again")


@processes
def test_without_the_replica_the_primary_answers(it):
    it.standby.stop("fast")
    paid = it.own.pay(key="alone").body
    assert it.listed(idempotency_key="alone") == [paid]
    assert it.reads("unavailable") >= 1
    assert "unavailable" in it.outcomes()
    wait_until(lambda: it.lag() is None, timeout=30, what="no lag is claimed")

    it.standby.start()
    answered = it.reads("replica")

    def answers_again() -> bool:
        it.listed()
        return it.reads("replica") > answered

    wait_until(answers_again, timeout=30, what="the replica answers again")


@processes
def test_a_promoted_replica_is_never_read_as_one(it):
    """It has writes of its own, or lacks those of the primary: only the address of the primary leads to it."""
    it.listed()
    it.own.server.stop("immediate")
    promote(it.standby)
    it.own.server = it.standby
    wait_until(lambda: it.own.pay(key="promoted").status == 201, timeout=30, what="payments flow again")
    answered = it.reads("replica")

    def listed() -> Any:
        """Return the list once the process that answers has noticed that its connection is lost."""
        reply = it.own.platform.request("GET", "/v1/transactions?idempotency_key=promoted", api_key=it.own.api_key)
        return reply.body["data"] if reply.status == 200 else None

    assert len(wait_until(listed, timeout=30, what="lists are answered again")) == 1
    assert it.reads("replica") == answered


# --- The choice itself, without a replica ------------------------------------------------------------------------


def test_outside_of_a_read_everything_uses_the_primary():
    router = replica.Router()

    assert router.db_for_read(Transaction) == "default"
    assert replica.connection() is connections["default"]


def test_within_a_read_queries_use_the_replica_and_writes_the_primary():
    router = replica.Router()
    with replica._routed():
        assert (router.db_for_read(Transaction), router.db_for_write(Transaction)) == ("replica", "default")
    assert router.db_for_read(Transaction) == "default"


def test_without_an_address_a_read_is_an_ordinary_call():
    assert not replica.is_configured()
    assert replica.read(router_of, Transaction, hint=1) == ("default", 1)


def router_of(model: type[Transaction], *, hint: int) -> tuple[str, int]:
    return replica.Router().db_for_read(model), hint
