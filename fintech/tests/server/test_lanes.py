"""Each request runs where it delays no other kind of work."""

import pytest

from fintech.server.lanes import Lane, lane_of

PAYMENT = "/v1/transactions/01998f5e-0000-7000-8000-000000000000"


def lane(method: str, path: str) -> Lane:
    return lane_of({"REQUEST_METHOD": method, "PATH_INFO": path})


@pytest.mark.parametrize("path", ["/v1/transactions", "/transaction"])
def test_a_new_payment_runs_on_the_loop(path):
    assert lane("POST", path) is Lane.LOOP


@pytest.mark.parametrize("operation", ["captures", "void", "refunds", "review"])
def test_an_operation_that_waits_for_the_gateway_delays_no_page(operation):
    assert lane("POST", f"{PAYMENT}/{operation}") is Lane.GATEWAY


def test_a_batch_delays_no_page():
    assert lane("POST", "/v1/transactions/batch") is Lane.GATEWAY


@pytest.mark.parametrize("path", ["/v1/transactions", PAYMENT, f"{PAYMENT}/refunds", "/admin/", "/v1/docs"])
def test_a_read_does_not_wait_behind_the_gateway(path):
    assert lane("GET", path) is Lane.PAGES


@pytest.mark.parametrize("path", ["/ready", "/metrics"])
def test_a_probe_has_threads_of_its_own(path):
    assert lane("GET", path) is Lane.PROBES


def test_an_alert_has_threads_of_its_own():
    assert lane("POST", "/alert") is Lane.ALERTS
