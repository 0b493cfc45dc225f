"""System checks of the settings that only payments understand. `manage.py check` and `migrate` run them."""

from collections.abc import Sequence

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import Error, register

from payments.currencies import EXPONENTS
from payments.gateway.registry import FACTORIES, STRIPE


@register
def check_currencies(app_configs: Sequence[AppConfig] | None, **_: object) -> list[Error]:
    return [
        Error(
            f"KPI_CURRENCIES is wrong: {currency!r} is not an ISO 4217 code, such as EUR.",
            hint="Name currencies that have a minor unit, separated by commas.",
            id="payments.E001",
        )
        for currency in settings.KPI_CURRENCIES
        if currency not in EXPONENTS
    ]


@register
def check_gateways(app_configs: Sequence[AppConfig] | None, **_: object) -> list[Error]:
    """Refuse routes to gateways that are not configured, and two gateways of one name."""
    found = [
        Error(
            f"GATEWAY_ROUTES is wrong: no gateway named {name!r} is configured.",
            hint=f"Configured are {', '.join(FACTORIES)}. {STRIPE} needs STRIPE_API_KEY.",
            id="payments.E002",
        )
        for name in sorted({name for names in settings.GATEWAY_ROUTES.values() for name in names} - FACTORIES.keys())
    ]
    if settings.GATEWAY_NAME == STRIPE:
        found.append(Error(f"GATEWAY_NAME is wrong: {STRIPE!r} is another gateway.", id="payments.E003"))
    return found
