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


def test_what_lacks_a_receiver_is_a_payload_all_the_same():
    content = payload.read(alertmanager_body("X", receiver=None))

    assert content is not None
    assert (content.receiver, content.statuses()) == ("", {"firing": 1})


def test_whether_it_is_nested_too_deeply_does_not_hang_on_who_asks():
    """A rebuild asks from deep within a command, the projector from a thread of its own."""

    def ask(further: int) -> list[bool]:
        if further:
            return ask(further - 1)
        bodies = [b'{"alerts": [], "x": %b%b}' % (b"[" * depth, b"]" * depth) for depth in range(500, 1500, 10)]
        return [payload.read(body) is not None for body in bodies]

    assert ask(0) == ask(300)
    assert {True, False} == set(ask(0))


def test_an_alert_without_a_name_has_an_empty_one():
    content = payload.read(alertmanager_body(alerts=[{"labels": {}}]))

    assert content is not None
    assert content.alert_names() == [""]
