"""Gateways are found by the name that a payment keeps."""

from threading import Thread

import pytest

from payments.gateway.base import GatewayError
from payments.gateway.client import HttpGateway
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
