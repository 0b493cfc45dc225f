"""The gateways that may charge a new payment, in order of preference, by merchant and currency.

A rule is a row (`GatewayRoute`), or part of the setting `GATEWAY_ROUTES`. A row replaces the setting's rule of the same
merchant and currency. The most specific rule applies: that of a merchant and a currency, of a merchant, of a currency,
of all others. Without rules, every payment goes to `GATEWAY_NAME`.
"""

from collections.abc import Collection, Iterable, Mapping

from django.conf import settings

from fintech.env import ANY

Rules = Mapping[tuple[str, str], tuple[str, ...]]
NO_RULES: Rules = {}


class Routes:
    def __init__(self, rules: Rules, default: str) -> None:
        self._rules, self._default = rules, (default,)

    def choose(self, merchant_id: int, currency: str, rows: Rules = NO_RULES) -> tuple[str, ...]:
        """Return the gateway of a new payment, and the ones that follow if it is known not to have charged."""
        if not self._rules and not rows:
            return self._default
        merchant = str(merchant_id)
        for rule in ((merchant, currency), (merchant, ANY), (ANY, currency), (ANY, ANY)):
            if found := rows.get(rule) or self._rules.get(rule):
                return found
        return self._default


def rules_of(rows: Iterable[tuple[int | None, str | None, str, str | None]], configured: Collection[str]) -> Rules:
    """Return the rules in rows of merchant, currency, gateway and fallback.

    A gateway may no longer be configured: a row without its first gateway is no rule, so that payments go on.
    """
    return {
        (str(merchant or ANY), currency or ANY): tuple(
            name for name in (gateway, fallback) if name and name in configured
        )
        for merchant, currency, gateway, fallback in rows
        if gateway in configured
    }


routes = Routes(settings.GATEWAY_ROUTES, settings.GATEWAY_NAME)
