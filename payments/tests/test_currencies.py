import pytest

from payments.currencies import EXPONENTS, format_amount, to_major, to_minor


@pytest.mark.parametrize(
    ("currency", "exponent"), [("EUR", 2), ("USD", 2), ("JPY", 0), ("KRW", 0), ("KWD", 3), ("TND", 3), ("CLF", 4)]
)
def test_exponents_are_those_of_iso_4217(currency, exponent):
    assert EXPONENTS[currency] == exponent


@pytest.mark.parametrize("currency", ["XAU", "XTS", "XXX", "XDR", "BTC", "eur", ""])
def test_a_code_without_a_minor_unit_is_no_currency(currency):
    assert currency not in EXPONENTS


@pytest.mark.parametrize(
    ("minor", "currency", "major"), [(1250, "EUR", 12.5), (1250, "JPY", 1250.0), (1250, "KWD", 1.25), (0, "EUR", 0.0)]
)
def test_an_amount_is_counted_in_major_units(minor, currency, major):
    assert to_major(minor, currency) == major
    assert to_minor(major, currency) == minor


@pytest.mark.parametrize("currency", ["EUR", "JPY", "KWD", "CLF"])
def test_sums_up_to_the_precision_of_floats_come_back_exactly(currency):
    for minor in (1, 999_999_999_999, 999_999_999_999_999):
        assert to_minor(to_major(minor, currency), currency) == minor


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (1250, "EUR", "12.50 EUR"),
        (5, "EUR", "0.05 EUR"),
        (0, "EUR", "0.00 EUR"),
        (-1, "EUR", "-0.01 EUR"),
        (123_456_789, "EUR", "1,234,567.89 EUR"),
        (1250, "JPY", "1,250 JPY"),
        (1250, "KWD", "1.250 KWD"),
        (-1250, "KWD", "-1.250 KWD"),
    ],
)
def test_an_amount_is_written_for_people(minor, currency, text):
    assert format_amount(minor, currency) == text
