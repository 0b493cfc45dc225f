"""Processes die and networks lose answers at the worst moments, on purpose and at a known point each time.

One web worker, so that it is clear which process to stop; short timeouts, so that leases run out soon. They are longer
than a busy machine may let a process stand still.
"""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPException
from typing import Any

import pytest
from django.db import connection

from fintech.database.connections import open_connection
from fintech.testing.processes import Load, Platform, Reply, wait_until
from loadtests.tests.simulator import Simulator
from payments.models import Capture, Event, Refund, Transaction, Unresolved, Void
from payments.services.resolution import MAX_PAUSE_SECONDS
from payments.tests.conftest import Client
from payments.tests.consistency import check_books, counters_equal_rows, settled
from payments.tests.crash.conftest import at_both, routed

pytestmark = [pytest.mark.processes, at_both]

CARD = {"type": "card", "token": "pm_card_visa"}
LEASE_SECONDS = 4
BATCH_DEADLINE_SECONDS = 5
LONGEST_LEASE_SECONDS = BATCH_DEADLINE_SECONDS + LEASE_SECONDS
SHORT = {
    "GATEWAY_TIMEOUT_SECONDS": "3",
    "GATEWAY_DEADLINE_SECONDS": "3.5",
    "LEASE_SECONDS": str(LEASE_SECONDS),
    "BATCH_DEADLINE_SECONDS": str(BATCH_DEADLINE_SECONDS),
    "BATCH_CONCURRENCY": "4",  # so that a batch has a middle
}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, gateway: Simulator) -> Iterator[Platform]:
    directory = tmp_path_factory.mktemp("platform")
    with (
        routed(gateway, directory) as (default, env),
        Platform(directory, gateway=default, workers=1, env=SHORT | env) as running,
    ):
        yield running


class CardClient(Client):
    """A merchant whose customers pay by card: Stripe asks for one."""

    def pay(self, amount: int = 1250, currency: str = "EUR", *, key: str | None = None, **fields: object) -> Reply:
        return super().pay(amount, currency, key=key, **{"payment_method": CARD, **fields})


class Scene:
    """One merchant, and the processes that may die under its payments."""

    def __init__(self, platform: Platform, gateway: Simulator, client: Client, threads: ThreadPoolExecutor) -> None:
        self.platform, self.gateway, self.client, self._threads = platform, gateway, client, threads
        self.wait_until_it_serves()

    def wait_until_it_serves(self) -> None:
        def serves() -> bool:
            reply = patiently(self.platform.request, "GET", "/health", timeout=2)
            return reply is not None and reply.status == 200

        wait_until(serves, what="the web serves")

    def web(self) -> int:
        """The PID of the one web worker."""
        (pid,) = wait_until(self.platform.worker_pids, what="there is a web worker")
        return pid

    def ask(self, call: Callable[..., Reply], *arguments: Any, **options: Any) -> Future[Reply | None]:
        """In a thread; None if the connection broke."""
        return self._threads.submit(patiently, call, *arguments, **options)

    @property
    def payment(self) -> Transaction:
        """The one payment of this merchant, once it is stored."""
        found = Transaction.objects.filter(merchant=self.client.merchant)
        return wait_until(found.first, what="the payment is stored")

    @property
    def history(self) -> list[str]:
        events = Event.objects.filter(transaction=self.payment, refund_id=None)
        return list(events.values_list("kind", flat=True))

    def at_the_gateway(self, payment: Transaction) -> str:
        return self.gateway.outcome("charge", str(payment.gateway_key))

    def wait_until_the_gateway_has_done(self, model: type[Capture] | type[Void], payment: str) -> None:
        """Wait until the gateway has done the capture or void of this payment."""
        row = wait_until(model.objects.filter(transaction_id=payment).first, what="it is reserved")
        named = {"key": str(row.gateway_key), "payment": str(row.transaction.gateway_key)}
        kind = str(model._meta.model_name)
        wait_until(lambda: self.gateway.outcome(kind, **named) == "approved", what="the gateway has done it")

    def ends_right(self) -> None:
        """Check the end of each test: nothing open, consistent books, and KPIs equal to them."""
        settled(self.client.merchant, within=MAX_PAUSE_SECONDS + LONGEST_LEASE_SECONDS + 15)
        check_books(self.gateway, self.client.merchant)
        self.wait_until_it_serves()
        wait_until(lambda: counters_equal_rows(self.platform), timeout=15, what="counters equal rows")
        assert self.platform.scrape()["transactions_in_progress"] == 0


def patiently(call: Callable[..., Reply], *arguments: Any, **options: Any) -> Reply | None:
    try:
        return call(*arguments, **options)
    except (OSError, HTTPException):
        return None


@pytest.fixture
def scene(platform: Platform, gateway: Simulator, client: Client) -> Iterator[Scene]:
    payer = CardClient(client.platform, client.merchant, client.api_key)
    with ThreadPoolExecutor(8) as threads:
        yield Scene(platform, gateway, payer, threads)
    gateway.profile(latency_ms=0, hold_seconds=10, cancel_fails=False)


@contextmanager
def lock(statement: str, *values: Any) -> Iterator[None]:
    with open_connection("lock") as other, other.transaction(force_rollback=True):
        other.execute(statement, values)
        yield


def lock_lease(payment: Transaction | Refund) -> Any:
    """T2 waits for this; the resolver looks past it."""
    return lock("SELECT 1 FROM payments_unresolved WHERE resource_id = %s FOR UPDATE", payment.pk)


def sessions(slot: str, *, waiting: bool = False) -> list[int]:
    """Backends of the writer of a slot, such as `web-0`; those that wait for a lock."""
    statement = (
        "SELECT pid FROM pg_stat_activity WHERE application_name LIKE %s AND (NOT %s OR wait_event_type = 'Lock')"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, [f"writer % {slot}", waiting])
        return [pid for (pid,) in cursor.fetchall()]


# --- The web dies ------------------------------------------------------------------------------------------


def test_killed_after_it_stored_the_payment_and_before_it_called_the_gateway(scene):
    """Stopped while T1 waits, so that T1 commits without it and the gateway hears nothing."""
    take_key = "INSERT INTO payments_idempotencykey VALUES (%s, 'k-1', gen_random_uuid(), 'payment')"
    worker = scene.web()
    with lock(take_key, scene.client.merchant.pk):
        asked = scene.ask(scene.client.pay, 1250, key="k-1")
        wait_until(lambda: sessions("web-0", waiting=True), what="T1 waits")
        os.kill(worker, signal.SIGSTOP)
    assert scene.history == ["processing"]
    os.kill(worker, signal.SIGKILL)

    assert asked.result(10) is None
    scene.ends_right()
    assert scene.history == ["processing", "failed"]
    assert scene.at_the_gateway(scene.payment) == "cancelled"
    again = scene.client.pay(1250, key="k-1")
    assert (again.status, again.body["failure"]["code"]) == (200, "cancelled")


def test_killed_while_the_gateway_works_on_it_nothing_was_charged(scene):
    scene.gateway.profile(hold_seconds=LEASE_SECONDS + 6)
    asked = scene.ask(scene.client.pay, 1925)  # charged only after these seconds, unless it is cancelled by then
    assert scene.history == ["processing"]
    os.kill(scene.web(), signal.SIGKILL)

    assert asked.result(10) is None
    scene.ends_right()
    assert scene.history == ["processing", "failed"]


def test_killed_when_it_was_charged_and_the_answer_is_on_its_way(scene):
    asked = scene.ask(scene.client.pay, 1923)  # charged at once, answered late
    wait_until(lambda: scene.at_the_gateway(scene.payment) == "approved", what="the gateway has charged")
    os.kill(scene.web(), signal.SIGKILL)

    assert asked.result(10) is None
    scene.ends_right()
    assert scene.history == ["processing", "succeeded"]


def test_killed_between_the_gateways_answer_and_our_commit_which_comes_without_it(scene):
    scene.gateway.profile(latency_ms=1000)
    asked = scene.ask(scene.client.pay, 1931)  # answered after two seconds: time to lock its row
    with lock_lease(scene.payment):
        wait_until(lambda: sessions("web-0", waiting=True), what="T2 waits")
        os.kill(scene.web(), signal.SIGSTOP)
    wait_until(lambda: scene.payment.is_final, what="T2 commits")
    os.kill(scene.web(), signal.SIGKILL)

    assert asked.result(10) is None
    scene.ends_right()
    assert Event.objects.get(transaction=scene.payment, kind="succeeded").actor == "api"


def test_killed_between_the_gateways_answer_and_our_commit_which_is_taken_back(scene):
    scene.gateway.profile(latency_ms=1000)
    asked = scene.ask(scene.client.pay, 1931)
    with lock_lease(scene.payment):
        wait_until(lambda: sessions("web-0", waiting=True), what="T2 waits")
        (orphan,) = sessions("web-0")
        os.kill(scene.web(), signal.SIGKILL)
        wait_until(lambda: orphan not in sessions("web-0"), what="its successor ends its session")
        assert scene.history == ["processing"]

    assert asked.result(10) is None
    scene.ends_right()
    assert Event.objects.get(transaction=scene.payment, kind="succeeded").actor == "resolver"


def test_killed_in_the_middle_of_a_refund(scene):
    payment = scene.client.pay(5000).body["id"]
    asked = scene.ask(scene.client.refund, payment, 1923)
    refund = wait_until(Refund.objects.filter(transaction_id=payment).first, what="the refund is reserved")
    key = str(refund.gateway_key)
    wait_until(lambda: scene.gateway.outcome("refund", key) == "approved", what="the gateway has paid")
    os.kill(scene.web(), signal.SIGKILL)

    assert asked.result(10) is None
    scene.ends_right()
    assert (scene.payment.amount_reserved, scene.payment.amount_refunded) == (1923, 1923)


def test_killed_in_the_middle_of_a_batch(scene):
    scene.gateway.profile(latency_ms=300)  # eleven times, one after the other
    items = [
        {"amount": amount, "currency": "EUR", "payment_method": CARD, "idempotency_key": f"k-{place}"}
        for place, amount in enumerate([1250] * 40 + [1901, 1911, 1922, 1924])
    ]
    payments = Transaction.objects.filter(merchant=scene.client.merchant)
    asked = scene.ask(scene.client.post, "/v1/transactions/batch", {"items": items})

    def first_is_charged() -> bool:
        first = payments.order_by("id").first()
        return first is not None and scene.at_the_gateway(first) == "approved"

    wait_until(first_is_charged, what="a charge", interval=0.01)
    os.kill(scene.web(), signal.SIGKILL)

    assert asked.result(10) is None
    scene.ends_right()
    again = scene.client.post("/v1/transactions/batch", {"items": items})
    assert {result["status_code"] for result in again.body["results"]} == {200}
    assert payments.count() == len(items)


# --- Answers that are lost or late -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "becomes"),
    [(1922, "succeeded"), (1923, "succeeded"), (1924, "failed"), (1921, "failed"), (1925, "failed")],
    ids=["charged", "charged, answered late", "dropped", "never answered", "charged late"],
)
def test_a_lost_answer_is_unknown_and_settled_within_ten_seconds(scene, amount, becomes):
    reply = scene.client.pay(amount, key="k-1")
    assert (reply.status, reply.body["status"]) == (202, "unknown")
    assert reply.headers["Location"] == f"/v1/transactions/{reply.body['id']}"
    assert int(reply.headers["Retry-After"]) >= 1

    settled(scene.client.merchant, within=10)
    replay = scene.client.pay(amount, key="k-1")
    assert (replay.status, replay.body["status"], replay.body["id"]) == (200, becomes, reply.body["id"])
    scene.ends_right()


def test_unknown_stays_unknown_while_the_gateway_says_nothing(scene):
    scene.gateway.profile(cancel_fails=True)
    scene.client.pay(1924, key="k-1")
    asked_twice = Unresolved.objects.filter(pk=scene.payment.pk, attempts__gte=2)
    wait_until(asked_twice.exists, what="the resolver has asked twice")

    replay = scene.client.pay(1924, key="k-1")
    assert (replay.status, replay.body["status"]) == (202, "unknown")
    assert scene.history == ["processing", "unknown"]

    scene.gateway.profile(cancel_fails=False)
    scene.ends_right()
    assert scene.history == ["processing", "unknown", "failed"]


@pytest.mark.parametrize(
    ("amount", "hold_seconds", "known", "becomes"),
    [(1923, 2, "approved", "succeeded"), (1925, LEASE_SECONDS + 6, "not_found", "failed")],
    ids=["charged before", "cancelled before"],
)
def test_a_late_answer_changes_nothing_once_the_resolver_has_decided(scene, amount, hold_seconds, known, becomes):
    """The web worker is stopped until its lease has expired, and finds the gateway's answer when it continues."""
    scene.gateway.profile(hold_seconds=hold_seconds)
    asked = scene.ask(scene.client.pay, amount, key="k-1")
    row = Transaction.objects.filter(pk=scene.payment.pk).values()
    wait_until(lambda: scene.at_the_gateway(scene.payment) == known, what="the gateway has the payment, or waits")
    worker = scene.web()
    os.kill(worker, signal.SIGSTOP)
    try:
        settled(scene.client.merchant)
        decided = row.get()
    finally:
        os.kill(worker, signal.SIGCONT)
    reply = asked.result(10)

    assert reply is not None
    assert reply.status in (201, 202)
    scene.ends_right()
    assert row.get() == decided
    assert scene.history == ["processing", becomes]


# --- The others die ----------------------------------------------------------------------------------------


def test_the_worker_dies_while_it_settles(scene):
    scene.client.pay(1922)
    with lock("SELECT 1 FROM payments_transaction WHERE id = %s FOR UPDATE", scene.payment.pk):
        wait_until(lambda: sessions("worker-0", waiting=True), what="the resolver's T2 waits")
        scene.platform.worker.kill()
        scene.platform.start()

    scene.ends_right()
    assert scene.history == ["processing", "unknown", "succeeded"]


def test_the_gateway_dies_and_comes_back(scene):
    answers: list[Reply] = []

    def shop() -> None:
        while not shops.stopped.wait(0.02):
            answers.append(scene.client.pay(1250))

    def flowing(since: int) -> bool:
        return sum(answer.body["status"] == "succeeded" for answer in answers[since:]) > 30

    scene.gateway.profile(latency_ms=20)
    shops = Load([shop] * 6)
    with shops:
        wait_until(lambda: flowing(0), what="payments flow")
        scene.gateway.restart()
        since = len(answers)
        wait_until(lambda: flowing(since), timeout=20, what="payments flow again")

    assert {answer.status for answer in answers} <= {201, 202}
    scene.ends_right()
