import pytest

from alerts_audit import payload
from alerts_audit.tests.payloads import READABLE, UNREADABLE, alertmanager_body


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_payload_is_none_and_raises_nothing(body):
    assert payload.read(body) is None


@pytest.mark.parametrize("body", READABLE.values(), ids=READABLE)
def test_unknown_keys_and_odd_text_are_understood(body):
    content = payload.read(body)

    assert content is not None
    assert content.receiver == "audit"


def test_alert_names_are_few_short_and_each_given_once():
    body = alertmanager_body("b", "a", "a", "x" * 1000, *(f"n{number}" for number in range(50)))
    content = payload.read(body)

    assert content is not None
    names = content.alert_names()
    assert names[:2] == ["a", "b"]
    assert len(names) == payload.MOST_NAMES
    assert max(map(len, names)) <= payload.LONGEST_TEXT


def test_an_alert_without_a_name_has_an_empty_one():
    content = payload.read(alertmanager_body(alerts=[{"labels": {}}]))

    assert content is not None
    assert content.alert_names() == [""]
