"""The quick way to read a body accepts only what the thorough way accepts, with the same result."""

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from payments.api.batches import read_item
from payments.bodies import (
    _parse_thoroughly,
    convert_items,
    is_plain,
    is_plain_data,
    parse,
    parse_json,
    read,
)
from payments.errors import PaymentError
from payments.schemas import BatchItem, PaymentInput

GOOD: dict[str, Any] = {"amount": 1250, "currency": "EUR"}


def outcome(function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except PaymentError as error:
        return type(error), error.code, error.param, error.detail


def thoroughly(body: bytes) -> PaymentInput:
    return parse(_parse_thoroughly(body), PaymentInput)


texts = st.text(st.characters(codec="ascii"), max_size=12) | st.text(max_size=6) | st.from_regex(r"[0-9 ]{12,20}")
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
required = {"amount": st.integers(-1, 10**13), "currency": st.sampled_from(["EUR", "JPY", "XXX", "eur"])}
optional = {
    "customer": texts,
    "description": texts,
    "metadata": st.dictionaries(texts, texts, max_size=3),
    "payment_method": st.fixed_dictionaries({"type": texts}, optional={"token": texts, "country": texts}),
    "other": values,
}
fields = st.fixed_dictionaries(required, optional=optional)


@given(fields, st.booleans())
def test_both_ways_agree_on_payments(data, escaped):
    body = json.dumps(data, ensure_ascii=escaped).encode(errors="surrogatepass")

    assert outcome(read, body, PaymentInput) == outcome(thoroughly, body)


@given(st.binary(max_size=40) | values.map(lambda value: json.dumps(value).encode()))
@example(b'{"amount": 1, "amount": 2, "currency": "EUR"}')
@example(b'{"amount": 1, "currency": "EUR", "metadata": {"a": "1", "a": "2"}}')
@example(b'{"amount": 1, "currency": "EUR", "customer": "a", "customer": null}')
@example(b'{"a": -0, "b": -0.0, "c": 1e400, "d": 9007199254740993, "e": 123456789012345}')
@example(b'{"a": 1.7976931348623157e308, "b": 1E-400, "c": 0.1, "d": 100000000000000.5}')
@example(b'{"amount": 1e2, "currency": "EUR"}')
@example(b'{"amount": NaN, "currency": "EUR"}')
@example(b'{"amount": 4111111111111111, "currency": "EUR"}')
@example(b'{"amount": 1, "currency": "EUR", "customer": "4111 1111 1111 1111"}')
@example(b'{"amount": 1, "currency": "EUR", "metadata": {"4111111111111111": "x"}}')
@example(b'{"amount": 1, "currency": "EUR", "customer": "\\u0034111111111111111"}')
@example(b'{"amount": 1, "currency": "EUR", "customer": "\\ud800"}')
@example(b'{"amount": 1, "currency": "EUR", "customer": "\xed\xa0\x80"}')
@example(b'{"amount": 1, "currency": "EUR", "metadata": {"\xed\xa0\x80": "a"}}')
@example(b'{"amount": 1, "currency": "EUR", "customer": "\xff\xc0\x80"}')
@example(b'{"\xff": 1}')
@example(b"[" * 100_000)
@example(b'{"amount": 1, "currency": "EUR"} {}')
@example(b'\xef\xbb\xbf{"amount": 1, "currency": "EUR"}')
def test_both_ways_agree_on_anything(body):
    assert outcome(read, body, PaymentInput) == outcome(thoroughly, body)
    assert repr(outcome(parse_json, body)) == repr(outcome(_parse_thoroughly, body))  # 1 is not 1.0


@given(fields)
@example({**GOOD, "customer": "\ud800"})
@example({**GOOD, "customer": "4111 1111 1111 1111"})
@example({**GOOD, "metadata": {"4111111111111111": "x"}})
@example({**GOOD, "customer": "a\0"})
@example({**GOOD, "other": 2**70})
@example({**GOOD, "other": [4111111111111111]})
def test_both_ways_agree_on_the_items_of_a_batch(data):
    quickly = outcome(lambda: parse(data, PaymentInput, is_plain=is_plain_data(data)))

    assert quickly == outcome(parse, data, PaymentInput)


def results(items: list[Any]) -> list[Any]:
    return [repr(item) if isinstance(item, BatchItem) else outcome(raised, item) for item in map(read_item, items)]


def raised(error: PaymentError) -> None:
    raise error


keys = st.sampled_from(["order-7", "1700000000000", "4111 1111 1111 1111", "two words", "ä"]) | texts
items = st.fixed_dictionaries({**required, "idempotency_key": keys}, optional=optional)


@given(st.lists(items, max_size=4))
@example([{**GOOD, "idempotency_key": "a"}, {**GOOD, "idempotency_key": "4111-1111-1111-1111"}])
@example([{**GOOD, "idempotency_key": "a", "customer": "4111 1111 1111 1111"}])
@example([{**GOOD, "idempotency_key": "a", "other": [[[[[[[[[1]]]]]]]]]}])
@example([{**GOOD, "idempotency_key": "a", "currency": "XXQ"}, {**GOOD, "idempotency_key": "b"}])
@example([{**GOOD, "idempotency_key": "a, a"}, {**GOOD, "idempotency_key": ""}])
def test_items_have_the_same_results_together_and_one_by_one(items):
    body = json.dumps({"items": items}).encode()

    assert results(convert_items(items, body)) == results(items)


def test_ordinary_items_are_converted_together():
    data = [{**GOOD, "idempotency_key": f"7f3e1234-4567-4890-8123-{number:012}"} for number in range(3)]

    converted = convert_items(data, json.dumps({"items": data}).encode())

    assert [type(item) for item in converted] == [BatchItem] * 3


def test_an_ordinary_payment_is_read_the_quick_way():
    body = json.dumps({**GOOD, "customer": "c_42", "metadata": {"order": "7"}}).encode()

    assert is_plain(body)
    assert is_plain_data(json.loads(body))
    assert read(body, PaymentInput) == thoroughly(body)
