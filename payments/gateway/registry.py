"""The gateways of this process, by name.

A payment stores the name of the gateway that was asked to charge it; its refunds and its resolution go to the same
one. Another acquirer is a class with the methods of `base.Gateway` and an entry in `FACTORIES`. `routing.py` chooses
among them for a new payment.
"""

import threading
from collections.abc import Callable, Mapping

from django.conf import settings

from payments import metrics
from payments.gateway.base import Gateway, GatewayError
from payments.gateway.http_gateway import HttpGateway
from payments.gateway.stripe.gateway import StripeGateway

STRIPE = "stripe"
FACTORIES: dict[str, Callable[[], Gateway]] = {
    settings.GATEWAY_NAME: lambda: HttpGateway(settings.GATEWAY_URL, settings.GATEWAY_TOKEN),
}
if settings.STRIPE_API_KEY:
    FACTORIES[STRIPE] = lambda: StripeGateway(settings.STRIPE_URL, settings.STRIPE_API_KEY, name=STRIPE)
for _name in FACTORIES:
    metrics.GatewayCalls(_name)


class Gateways:
    """Each gateway is made on first use, because a connection pool must not cross a fork."""

    def __init__(self, factories: Mapping[str, Callable[[], Gateway]]) -> None:
        self._factories = factories
        self.made: dict[str, Gateway] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> Gateway:
        """Raises GatewayError if no gateway of this name is configured."""
        made = self.made.get(name)
        if made is not None:
            return made
        with self._lock:
            if name not in self.made:
                if name not in self._factories:
                    raise GatewayError(f"no gateway named {name!r} is configured")
                self.made[name] = self._factories[name]()
            return self.made[name]

    @property
    def names(self) -> list[str]:
        return list(self._factories)

    def default(self) -> Gateway:
        """Return the gateway of payments without a route, whose totals `gateway_drift` compares."""
        return self.get(settings.GATEWAY_NAME)


gateways = Gateways(FACTORIES)
