"""Gateways are found by the name that a payment keeps."""

from threading import Thread
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY

from fintech.testing.processes import free_port
from payments.gateway.base import GatewayError
from payments.gateway.http_gateway import HttpGateway
from payments.gateway.registry import Gateways


def test_a_gateway_is_made_once_and_on_first_use():
    made: list[HttpGateway] = []

    def make() -> HttpGateway:
        made.append(HttpGateway("http://127.0.0.1:9", ""))
        return made[-1]

    gateways = Gateways({"acquirer": make})
    assert made == []

    threads = [Thread(target=gateways.get, args=["acquirer"]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert made == [gateways.get("acquirer")]


def test_a_payment_of_a_gateway_that_is_not_configured_goes_to_no_other():
    gateways = Gateways({"acquirer": lambda: HttpGateway("http://127.0.0.1:9", "")})

    with pytest.raises(GatewayError, match="no gateway named 'former' is configured"):
        gateways.get("former")


def test_calls_are_counted_by_gateway_beside_the_sum_of_all():
    def counted(gateway: str) -> float:
        labels = {"gateway": gateway, "outcome": "unavailable"}
        return REGISTRY.get_sample_value("gateway_calls_total", labels) or 0

    def counted_in_all() -> float:
        return REGISTRY.get_sample_value("gateway_requests_total", {"outcome": "unavailable"}) or 0

    for name in ("first", "second"):
        before = counted(name), counted_in_all()

        answer = HttpGateway(f"http://127.0.0.1:{free_port()}", "t", name=name).cancel_charge(uuid4())

        attempts = len(answer.exchanges)
        assert answer.outcome == "unavailable"
        assert (counted(name), counted_in_all()) == (before[0] + attempts, before[1] + attempts)
    assert REGISTRY.get_sample_value("gateway_call_seconds_count", {"gateway": "second"}) == attempts


def test_the_state_of_a_circuit_breaker_is_a_metric():
    def is_open() -> float | None:
        return REGISTRY.get_sample_value("gateway_circuit_open", {"gateway": "breaking"})

    gateway = HttpGateway(f"http://127.0.0.1:{free_port()}", "t", name="breaking")
    assert is_open() == 0
    while gateway.cancel_charge(uuid4()).code != "circuit_open":
        assert is_open() == 0

    assert is_open() == 1
