"""Which headers may occur once, and how a repetition is found."""

import pytest

from fintech.http.headers import SINGLE, find_repeated, is_joined


@pytest.mark.parametrize("name", sorted(SINGLE))
@pytest.mark.parametrize("value", ["a", "b"])
def test_a_single_header_is_not_repeated_with_any_value(name, value):
    found = find_repeated([("accept", "x"), (name.upper(), "a"), ("Accept", "y"), (name, value)])

    assert found is not None
    assert found.lower() == name


def test_a_header_that_is_a_list_may_be_repeated():
    assert find_repeated([("Accept", "a"), ("Accept", "b"), ("X-Forwarded-For", "a"), ("X-Forwarded-For", "b")]) is None


@pytest.mark.parametrize("name", ["Authorization", "Content-Length", "Host"])
def test_an_alert_has_one_authorization_and_one_host(name):
    assert find_repeated([(name, "a"), (name, "a")], "/alert") == name


@pytest.mark.parametrize("name", ["Content-Type", "X-Request-ID", "traceparent", "Idempotency-Key"])
def test_an_alert_is_not_lost_for_a_header_that_says_less(name):
    assert find_repeated([(name, "a"), (name, "b")], "/alert") is None


@pytest.mark.parametrize(
    ("value", "joined"), [("k,k", True), ("k,k,k", True), ("k", False), ("a,b", False), (",", False), ("k,kk", False)]
)
def test_equal_values_that_were_joined_are_recognised(value, joined):
    assert is_joined(value) is joined
