"""The KPIs as the design's table has them: all there before the first payment, right after it, and always at hand."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fintech.testing.processes import Platform, Reply, is_over, request, wait_until
from payments.api_keys import create_api_key
from payments.kpis.scrape import RETIRED
from payments.models import Merchant
from payments.tests.conftest import ALL_SCOPES, Client

pytestmark = pytest.mark.processes

STATUSES = {"succeeded", "declined", "blocked", "failed"}
CURRENCIES = {"EUR", "USD", "GBP", "JPY", "KWD"}
# Name in the exposition -> type, label, and the values of the label that are there from the start.
GATEWAY_OUTCOMES = {"approved", "declined", "error", "timeout", "unavailable", "requires_action"}
WEB: dict[str, tuple[str, str | None, set[str]]] = {
    "transactions": ("counter", "status", STATUSES),
    "unknown_outcomes": ("counter", None, set()),
    "transaction_latency_seconds": ("histogram", None, set()),
    "transaction_own_seconds": ("histogram", None, set()),
    "transaction_amount": ("summary", "currency", CURRENCIES),
    "transactions_in_progress": ("gauge", None, set()),
    "gateway_requests": ("counter", "outcome", GATEWAY_OUTCOMES),
    "gateway_request_seconds": ("histogram", None, set()),
    "fraud_score": ("histogram", None, set()),
    "fraud_unscored": ("counter", None, set()),
    "idempotency_requests": ("counter", "result", {"new", "replayed", "in_flight", "mismatch", "recovered"}),
    "throttled_requests": ("counter", None, set()),
    "refunds": ("counter", "status", {"succeeded", "failed"}),
    "authentications": ("counter", "status", {"authenticated", "failed", "abandoned", "frictionless", "exempt"}),
}
WORKER: dict[str, tuple[str, str | None, set[str]]] = {
    **{
        name: described
        for name, described in WEB.items()
        if not name.startswith(("transaction_latency", "transaction_own"))
    },
    "unresolved_transactions": ("gauge", None, set()),
    "unresolved_oldest_seconds": ("gauge", None, set()),
    "open_challenges": ("gauge", None, set()),
    "reviews_waiting": ("gauge", None, set()),
    "review_oldest_waiting_seconds": ("gauge", None, set()),
    "reviews_waiting_amount": ("gauge", "currency", CURRENCIES),
    "ledger_transactions": ("counter", "status", STATUSES),
    "ledger_amount": ("counter", "currency", CURRENCIES),
    "gateway_drift": ("gauge", "currency", CURRENCIES),
}
DRIFT = {("transactions", status) for status in STATUSES} | {("revenue", currency) for currency in CURRENCIES}


def families(port: int) -> dict[str, Any]:
    text = request(port, "GET", "/metrics").body.decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory, platform, gateway) -> Iterator[Platform]:
    """A platform that has seen no request but for its health, with six threads, and whose worker leads."""
    directory = tmp_path_factory.mktemp("fresh")
    platform.worker.stop()
    with Platform(directory, gateway=gateway, env={"WEB_CAPACITY": "2"}) as fresh:
        yield fresh
    platform.start()


@pytest.fixture(scope="module")
def web_at_first(fresh) -> dict[str, Any]:
    return families(fresh.metrics_port)


@pytest.fixture(scope="module")
def worker_at_first(fresh, web_at_first) -> dict[str, Any]:
    def complete() -> dict[str, Any]:
        found = families(fresh.worker_port)
        return found if found.keys() >= {"kpi_drift", "gateway_drift", "ledger_amount"} else {}

    return wait_until(complete, timeout=20, what="the worker leads and has measured everything once")


@pytest.fixture(scope="module", autouse=True)
def _read_before_the_first_payment(web_at_first, worker_at_first) -> None:
    """Whichever test is the first."""


@pytest.fixture
def shop(fresh) -> Client:
    merchant = Merchant.objects.create(name=f"Shop {time.time_ns()}", country="DE")
    return Client(fresh, merchant, create_api_key(merchant=merchant, name="test", scopes=ALL_SCOPES)[1])


def assert_as_described(family: Any, kind: str, label: str | None, values: set[str]) -> None:
    assert family.type == kind
    assert family.documentation
    # The database may know hosts of other tests, whose totals have the label `retired`.
    samples = [sample for sample in family.samples if RETIRED not in sample.labels]
    labels = {name for sample in samples for name in sample.labels} - {"le"}
    assert labels == ({label} if label else set())
    found = {sample.labels[label] for sample in samples if label}
    # The database may know of more currencies; there are no more statuses.
    assert found >= values if label == "currency" else found == values


@pytest.mark.parametrize("name", WEB)
def test_the_webs_metrics_are_there_before_the_first_payment(web_at_first, name):
    assert_as_described(web_at_first[name], *WEB[name])
    values = {sample.value for sample in web_at_first[name].samples if not sample.name.endswith("_created")}
    assert values == {0.0}


@pytest.mark.parametrize("name", WORKER)
def test_the_workers_metrics_are_there_before_the_first_payment(worker_at_first, name):
    assert_as_described(worker_at_first[name], *WORKER[name])


def test_the_drift_is_there_before_the_first_payment(worker_at_first):
    samples = worker_at_first["kpi_drift"].samples

    found = {(sample.labels["kpi"], sample.labels.get("status") or sample.labels["currency"]) for sample in samples}
    assert {kpi for kpi in found if kpi[0] == "transactions"} == {kpi for kpi in DRIFT if kpi[0] == "transactions"}
    assert found >= DRIFT, "the database may know more currencies"
    assert {sample.value for sample in samples} == {0.0}


@pytest.mark.parametrize("name", ["transaction_latency_seconds", "transaction_own_seconds"])
def test_an_edge_of_the_histogram_is_on_the_objective(web_at_first, name):
    assert "0.3" in {sample.labels.get("le") for sample in web_at_first[name].samples}


def test_the_calls_to_each_gateway_are_there_before_the_first_payment(web_at_first, worker_at_first):
    outcomes = GATEWAY_OUTCOMES | {"cancelled"}
    for exported in (web_at_first, worker_at_first):
        calls = [sample for sample in exported["gateway_calls"].samples if not sample.name.endswith("_created")]

        assert {sample.labels["gateway"] for sample in calls} == {"simulator"}
        assert {sample.labels["outcome"] for sample in calls} == outcomes
        assert {sample.labels["gateway"] for sample in exported["gateway_call_seconds"].samples} == {"simulator"}


@pytest.mark.parametrize("path", ["/", "/metrics/", "/metrics/x", "/Metrics", "/%00", "/favicon.ico"])
def test_metrics_are_at_one_path(fresh, path):
    for port in (fresh.metrics_port, fresh.worker_port):
        assert request(port, "GET", path).status == 404
    assert fresh.request("GET", path).status == (302 if path == "/" else 404)


def test_the_webs_own_port_takes_the_token(fresh):
    token = fresh.web.env["METRICS_TOKEN"]

    for header in (None, "", token, f"Basic {token}", f"Bearer {token}x", f"Bearer {token[:-1]}", "Bearer é"):
        reply = fresh.request("GET", "/metrics", headers={} if header is None else {"Authorization": header})
        assert (reply.status, reply.body["code"]) == (401, "unauthorized")
        assert token not in str(reply.body)
    reply = fresh.request("GET", "/metrics", headers={"Authorization": f"Bearer {token}"})
    assert reply.status == 200
    assert reply.headers["Content-Type"] == request(fresh.metrics_port, "GET", "/metrics").headers["Content-Type"]
    assert b'transactions_total{status="succeeded"}' in reply.body


def grown(platform: Platform, before: dict[str, float]) -> dict[str, float]:
    """Return the changes, without durations."""
    changes = {name: value - before.get(name, 0) for name, value in platform.scrape().items()}
    times = re.compile("django_.*|.*_seconds_(sum|bucket).*|web_loop_lag_seconds")
    return {name: change for name, change in changes.items() if change and not times.fullmatch(name)}


def test_each_payment_is_counted_once_in_the_minor_units_of_its_currency(fresh, shop):
    before = fresh.scrape()

    for _ in range(2):
        shop.pay(1250, "EUR", key="euro")
    shop.pay(1251, "EUR", key="euro")
    shop.pay(1250, "JPY")
    shop.pay(1250, "KWD")
    shop.pay(1901, "KWD")
    shop.pay(1911, "USD")
    shop.pay(1250, "USD", payment_method={"type": "card", "token": "tok_fraud"})

    buckets = {name: value for name, value in grown(fresh, before).items() if "fraud_score_bucket" not in name}
    assert buckets == {
        'transactions_total{status="succeeded"}': 3,
        'transactions_total{status="declined"}': 1,
        'transactions_total{status="failed"}': 1,
        'transactions_total{status="blocked"}': 1,
        'transaction_amount_count{currency="EUR"}': 1,
        'transaction_amount_sum{currency="EUR"}': 12.5,
        'transaction_amount_count{currency="JPY"}': 1,
        'transaction_amount_sum{currency="JPY"}': 1250,
        'transaction_amount_count{currency="KWD"}': 1,
        'transaction_amount_sum{currency="KWD"}': 1.25,
        "transaction_latency_seconds_count": 6,
        "transaction_own_seconds_count": 6,
        "gateway_request_seconds_count": 5,
        'gateway_requests_total{outcome="approved"}': 3,
        'gateway_requests_total{outcome="declined"}': 1,
        'gateway_requests_total{outcome="error"}': 1,
        'gateway_call_seconds_count{gateway="simulator"}': 5,
        'gateway_calls_total{gateway="simulator",outcome="approved"}': 3,
        'gateway_calls_total{gateway="simulator",outcome="declined"}': 1,
        'gateway_calls_total{gateway="simulator",outcome="error"}': 1,
        'idempotency_requests_total{result="new"}': 6,
        'idempotency_requests_total{result="replayed"}': 1,
        'idempotency_requests_total{result="mismatch"}': 1,
        "fraud_score_count": 6,
        "fraud_score_sum": pytest.approx(5 * 0.05 + 1.0),
    }


def test_a_refund_is_no_payment_and_no_revenue(fresh, shop):
    payment = shop.pay(1250).body["id"]
    before = fresh.scrape()

    shop.refund(payment, 400)

    assert grown(fresh, before) == {
        'refunds_total{status="succeeded"}': 1,
        'gateway_requests_total{outcome="approved"}': 1,
        "gateway_request_seconds_count": 1,
        'gateway_calls_total{gateway="simulator",outcome="approved"}': 1,
        'gateway_call_seconds_count{gateway="simulator"}': 1,
        'idempotency_requests_total{result="new"}': 1,
    }


def test_a_batch_is_counted_by_its_items(fresh, shop):
    before = fresh.scrape()

    shop.post(
        "/v1/transactions/batch",
        {"items": [{"idempotency_key": str(n), "amount": 100, "currency": "GBP", "customer": "c"} for n in range(20)]},
    )

    found = grown(fresh, before)
    assert found['transactions_total{status="succeeded"}'] == 20
    assert found['transaction_amount_sum{currency="GBP"}'] == 20.0
    assert found['idempotency_requests_total{result="new"}'] == 20
    assert "transaction_latency_seconds_count" not in found, "of single payments only"


def test_a_scrape_is_answered_while_all_threads_of_all_workers_are_busy(fresh, shop, gateway):
    gateway.profile(latency_ms=2500)
    payments: list[Future[Reply]] = []
    with ThreadPoolExecutor(200) as threads:

        def all_are_busy() -> bool:
            payments.extend(threads.submit(shop.pay) for _ in range(4))  # until each worker has got some
            return fresh.scrape()["transactions_in_progress"] == 4

        wait_until(all_are_busy, interval=0.3, what="each thread holds a payment")
        start = time.monotonic()
        found = fresh.scrape()
        assert not is_over(start, 2)
        assert found["transactions_in_progress"] == 4, "they were busy all the time"
        gateway.profile(latency_ms=0)

    assert {payment.result().status for payment in payments} == {201}
    assert fresh.scrape()["transactions_in_progress"] == 0
