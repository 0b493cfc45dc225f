"""The trace of a payment: real gunicorn, worker and gateway, and a receiver that reads their spans."""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fintech.testing.processes import Platform, free_port, wait_until
from loadtests.tests.simulator import running_gateway
from payments.api_keys import create_api_key
from payments.models import Merchant
from payments.tests.conftest import ALL_SCOPES, Client
from payments.tests.kpis.collector import Collector, running_collector

pytestmark = pytest.mark.processes

CARD_FREE = "c_secret_customer"


@contextmanager
def traced_platform(directory: Path, endpoint: str, *, worker: bool = False, **settings: str) -> Iterator[Client]:
    """A platform whose gateway, web and worker send to `endpoint`, and a merchant who pays there."""
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    env |= {"TRACE_SAMPLE_RATIO": "0", "TRACE_SLOW_SECONDS": "30", **settings}
    merchant = Merchant.objects.create(name=f"Merchant {secrets.token_hex(12)}", country="DE")
    _, secret = create_api_key(merchant=merchant, name="test", scopes=ALL_SCOPES)
    with (
        running_gateway(directory, **env) as gateway,
        Platform(directory, gateway=gateway, workers=1, worker=worker, env=env) as platform,
    ):
        yield Client(platform, merchant, secret)


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with running_collector() as running:
        yield running


@pytest.fixture(scope="module")
def client(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with traced_platform(tmp_path_factory.mktemp("traced"), collector.url, worker=True) as running:
        yield running


def traceparent(*, sampled: bool) -> tuple[str, dict[str, str]]:
    trace_id = secrets.token_hex(16)
    return trace_id, {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-{'01' if sampled else '00'}"}


def pay(client: Client, amount: int = 1250, *, sampled: bool = True, **fields: object) -> tuple[str, str]:
    """The trace's id, and the payment's status."""
    trace_id, headers = traceparent(sampled=sampled)
    body = {"amount": amount, "currency": "EUR", "customer": CARD_FREE, **fields}
    reply = client.post("/v1/transactions", body, key=secrets.token_hex(12), headers=headers)
    return trace_id, reply.body["status"]


STEPS = ("fraud", "T1", "gateway charge", "T2")
ROOT, AT_THE_GATEWAY = "POST v1/transactions", "POST /v1/charges"


# --- Not kept ----------------------------------------------------------------------------------------------


def test_a_quick_unsampled_payment_leaves_no_span(client, collector):
    ignored, status = pay(client, sampled=False)
    kept, _ = pay(client)

    collector.wait_for(kept, ROOT)
    assert status == "succeeded"
    assert collector.trace(ignored) == []


def test_a_decline_is_the_banks_answer_and_no_fault(client, collector):
    ignored, status = pay(client, 1901, sampled=False)
    kept, _ = pay(client)

    collector.wait_for(kept, ROOT)
    assert (status, collector.trace(ignored)) == ("declined", [])


def test_probes_leave_no_span_even_if_they_are_sampled(client, collector):
    trace_id, headers = traceparent(sampled=True)
    client.platform.request("GET", "/health", headers=headers)
    kept, _ = pay(client)

    collector.wait_for(kept, ROOT)
    assert collector.trace(trace_id) == []


def test_spans_say_nothing_about_the_customer(client, collector):
    trace_id, _ = pay(client, description="for Ada Lovelace", payment_method={"type": "card", "token": "tok_visa_ada"})
    collector.wait_for(trace_id, ROOT, AT_THE_GATEWAY)

    sent = b"".join(collector.bodies)
    for word in (CARD_FREE, "Lovelace", "tok_visa_ada", client.merchant.name, client.api_key):
        assert word.encode() not in sent


# --- Kept --------------------------------------------------------------------------------------------------


def test_a_sampled_payment_shows_its_steps_in_order_below_the_request(client, collector):
    trace_id, _ = pay(client)

    spans = collector.wait_for(trace_id, ROOT, *STEPS)
    root, steps = spans[ROOT], [spans[name] for name in STEPS]
    assert {span.parent_id for span in steps} == {root.span_id}
    assert [span.start for span in steps] == sorted(span.start for span in steps)
    assert root.start <= steps[0].start <= steps[-1].end <= root.end
    assert root.attributes["http.response.status_code"] == 201
    assert (root.service, root.kind, root.failed) == ("app", "server", False)


def test_the_trace_goes_on_in_the_gateway_and_comes_back(client, collector):
    trace_id, _ = pay(client)

    spans = collector.wait_for(trace_id, "gateway charge", AT_THE_GATEWAY)
    call, served = spans["gateway charge"], spans[AT_THE_GATEWAY]
    assert (served.service, served.parent_id) == ("gateway", call.span_id)
    assert call.attributes["gateway.span_id"] == served.span_id
    assert call.attributes["gateway.outcome"] == "approved"


@pytest.mark.parametrize(("amount", "status"), [(1911, "failed"), (1912, "failed"), (1924, "unknown")])
def test_a_failed_payment_is_kept_without_sampling(client, collector, amount, status):
    trace_id, answered = pay(client, amount, sampled=False)

    spans = collector.wait_for(trace_id, ROOT, *STEPS)
    assert answered == status
    assert spans["gateway charge"].failed


def test_the_resolvers_question_is_kept_with_the_gateways_answer(client, collector):
    pay(client, 1924, sampled=False)

    def resolved():
        return [span for span in collector.spans if (span.service, span.name) == ("worker", "resolve")]

    resolve = wait_until(resolved, timeout=20, what="the worker's span")[0]
    assert "gateway cancel" in collector.wait_for(resolve.trace_id, "gateway cancel")


def test_a_batch_and_a_refund_show_their_steps(client, collector):
    batch, headers = traceparent(sampled=True)
    items = [{"amount": 1250, "currency": "EUR", "idempotency_key": secrets.token_hex(12)} for _ in range(3)]
    reply = client.post("/v1/transactions/batch", {"items": items}, headers=headers)
    refund, headers = traceparent(sampled=True)
    path = f"/v1/transactions/{reply.body['results'][0]['body']['id']}/refunds"
    client.post(path, {"amount": 1}, key=secrets.token_hex(12), headers=headers)

    collector.wait_for(batch, "T1", "gateway charges", "T2")
    collector.wait_for(refund, "reserve", "gateway refund", "settle", "POST /v1/refunds")


def test_each_request_has_a_trace_that_its_log_line_names(client):
    lines = client.platform.web.output().splitlines()
    reply = client.pay()

    def line():
        for text in client.platform.web.output().splitlines()[len(lines) :]:
            found = json.loads(text)
            if found.get("request_id") == reply.headers["X-Request-ID"]:
                return found
        return None

    assert len(wait_until(line, what="the request's line")["trace_id"]) == 32


def test_about_the_wanted_share_is_sampled(collector, tmp_path):
    with traced_platform(tmp_path, collector.url, TRACE_SAMPLE_RATIO="0.5") as client:
        before = len(collector.spans)
        for _ in range(100):
            client.get("/v1/transactions?limit=1")

    # Stopped: what waited was sent. 100 throws of a coin lie outside of these bounds once in 10^5.
    roots = [span for span in collector.spans[before:] if span.name == "GET v1/transactions"]
    assert 28 <= len(roots) <= 72


# --- Without a listener --------------------------------------------------------------------------------------


def test_an_unavailable_collector_costs_no_payment_and_no_time_at_the_end(tmp_path):
    nowhere = f"http://127.0.0.1:{free_port()}"
    with traced_platform(tmp_path, nowhere, TRACE_SAMPLE_RATIO="1") as client:
        assert [pay(client)[1] for _ in range(5)] == ["succeeded"] * 5
        client.platform.web.stop(timeout=12)
