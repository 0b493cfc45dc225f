"""System checks of the settings that only payments understand. `manage.py check` and every other command run them."""

from collections.abc import Sequence

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import Error, register

from payments.currencies import EXPONENTS


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
