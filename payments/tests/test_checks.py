"""Settings that only payments understand are Django system checks."""

import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import SystemCheckError


def test_the_settings_of_the_tests_pass():
    call_command("check")


@pytest.mark.parametrize("currency", ["EURO", "eur", "XAU", ""])
def test_a_currency_that_iso_4217_does_not_know_stops_a_command(monkeypatch, currency):
    monkeypatch.setattr(settings, "KPI_CURRENCIES", ["EUR", currency])

    sentence = rf"\(payments\.E001\) KPI_CURRENCIES is wrong: '{currency}' is not an ISO 4217 code"
    with pytest.raises(SystemCheckError, match=sentence):
        call_command("check")
