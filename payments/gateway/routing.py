"""The gateways that may charge a new payment, in order of preference, by merchant and currency.

`GATEWAY_ROUTES` has the rules. The most specific one applies: that of a merchant and a currency, of a merchant, of a
currency, of all others. Without rules, every payment goes to `GATEWAY_NAME`.
"""

from collections.abc import Mapping

from django.conf import settings

from fintech.env import ANY

Rules = Mapping[tuple[str, str], tuple[str, ...]]


class Routes:
    def __init__(self, rules: Rules, default: str) -> None:
        self._rules, self._default = rules, (default,)

    def choose(self, merchant_id: int, currency: str) -> tuple[str, ...]:
        """Return the gateway of a new payment, and the ones that follow if it is known not to have charged."""
        if not self._rules:
            return self._default
        merchant = str(merchant_id)
        for rule in ((merchant, currency), (merchant, ANY), (ANY, currency), (ANY, ANY)):
            if rule in self._rules:
                return self._rules[rule]
        return self._default


routes = Routes(settings.GATEWAY_ROUTES, settings.GATEWAY_NAME)
