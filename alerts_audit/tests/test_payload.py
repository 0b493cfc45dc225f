import json

import pytest

from alerts_audit import payload
from alerts_audit.tests.payloads import READABLE, UNREADABLE, alertmanager_body


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
def test_a_malformed_payload_is_none_and_raises_nothing(body):
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
    assert len(names) == payload.MAX_NAMES
    assert max(map(len, names)) <= payload.MAX_TEXT


def test_a_payload_without_a_receiver_is_read():
    content = payload.read(alertmanager_body("X", receiver=None))

    assert content is not None
    assert (content.receiver, content.statuses()) == ("", {"firing": 1})


def nested(depth: int, *, text: str = "") -> bytes:
    """A payload with brackets that are open `depth` at once, and a text."""
    return b'{"receiver": %b, "alerts": [], "x": %b%b}' % (
        json.dumps(text).encode(),
        b"[" * (depth - 1),
        b"]" * (depth - 1),
    )


def test_the_deepest_allowed_nesting_is_read_from_any_stack():
    """A rebuild asks from deep within a command, the projector from a thread of its own."""

    def ask(further: int) -> payload.Payload | None:
        return ask(further - 1) if further else payload.read(nested(payload.MAX_DEPTH))

    assert ask(0) is not None
    assert ask(600) == ask(0)


@pytest.mark.parametrize("depth", [payload.MAX_DEPTH + 1, 100_000])
def test_deeper_nesting_is_refused_in_the_same_words_by_every_python(depth):
    assert payload.decode(nested(depth)) == payload.DecodedBody(error="it is nested too deeply")


@pytest.mark.parametrize("text", ["[" * 2000, '\\"' + "{" * 2000, "\\" * 3 + '"[' * 2000])
def test_brackets_in_a_text_are_not_nested(text):
    content = payload.read(nested(3, text=text))

    assert content is not None
    assert content.receiver == text


def test_brackets_after_texts_that_hold_quotes_are():
    assert payload.read(nested(payload.MAX_DEPTH + 1, text='"]' * 2000)) is None


def test_an_alert_without_a_name_has_an_empty_one():
    content = payload.read(alertmanager_body(alerts=[{"labels": {}}]))

    assert content is not None
    assert content.alert_names() == [""]
