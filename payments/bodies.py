"""Read the body of a request: JSON, its texts, then its type.

Nearly all bodies take a fast way. Where it finds a fault, or cannot exclude one, a thorough one decides.
"""

import json
import re
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
import orjson

from fintech.cards import SHORTEST_TIME, contains_card_number, may_contain_card_number, strip_timestamps
from fintech.json_objects import RepeatedName, unique_names
from fintech.texts import printable, shorten_name
from payments.errors import InvalidRequest, MalformedRequest, PaymentError
from payments.schemas import MAX_AMOUNT, BatchItem, Input

# Deeper than any type of `schemas.py`: a batch item's metadata.
MAX_DEPTH = 8

Shape = TypeVar("Shape", bound=Input)


def read(body: bytes, shape: type[Shape]) -> Shape:
    """Convert a body to a `shape`. Raises MalformedRequest or InvalidRequest."""
    return parse(parse_json(body), shape, is_plain=is_plain(body))


# --- JSON --------------------------------------------------------------------------------------------------


def parse_json(body: bytes) -> Any:
    """Parse the body. Repeated names are refused, because readers disagree about which one counts."""
    # The thorough way finds the error again, and describes it.
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError, orjson.JSONEncodeError):
        if b"\\" not in body and not has_digits(body, MOST_DIGITS):
            data = msgspec.json.decode(body)
            # A repeated name shows in the number of quotation marks, because none of them is escaped.
            if body.count(b'"') == orjson.dumps(data).count(b'"'):
                return data
    return _parse_thoroughly(body)


# A number with as many digits is read by msgspec in another way than by Python's own reader.
MOST_DIGITS = 16
_DIGITS = bytes.maketrans(b"123456789", b"000000000")


def has_digits(body: bytes, number: int) -> bool:
    """Return True if so many digits follow each other. A regular expression takes ten times as long."""
    return b"0" * number in body.translate(_DIGITS)


def _parse_thoroughly(body: bytes) -> Any:
    try:
        return json.loads(body.decode(), object_pairs_hook=unique_names, parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise MalformedRequest("invalid_json", "The body is not UTF-8.") from None
    except RecursionError:
        raise MalformedRequest("invalid_json", "The body is nested too deeply.") from None
    except (json.JSONDecodeError, RepeatedName) as error:
        raise _not_json(printable(str(error))) from None
    except ValueError:  # Python limits the digits of an integer, whose parsing takes quadratic time
        raise InvalidRequest("invalid_value", "A number has too many digits.", param="body") from None


def _refuse_constant(name: str) -> None:
    raise _not_json(f"{name} is not a number")


def _not_json(reason: str) -> PaymentError:
    return MalformedRequest("invalid_json", f"The body is not JSON: {reason}.")


# --- Types -------------------------------------------------------------------------------------------------


def parse(data: Any, shape: type[Shape], *, is_plain: bool = False) -> Shape:
    """Convert `data` to a `shape`. Raises InvalidRequest, which names the first wrong field."""
    if not is_plain:
        check_texts(data)
    try:
        result = msgspec.convert(data, shape)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    result.check()
    return result


def convert_items(items: list[Any], body: bytes) -> list[Any]:
    """Convert the items of a batch together, if that has the same result as `parse` for each; their `check` is left."""
    # A value that is nested too deeply is refused by its type, too. Without a time, a key is checked as any other text.
    if has_plain_texts(body) and not has_digits(body, SHORTEST_TIME):
        with suppress(msgspec.ValidationError):
            return msgspec.convert(items, list[BatchItem])
    return items


def is_plain(body: bytes) -> bool:
    """Return True if `check_texts` cannot refuse any text of `body`. Nearly all bodies are plain."""
    return has_plain_texts(body) and body.count(b"{") + body.count(b"[") <= MAX_DEPTH


def has_plain_texts(body: bytes) -> bool:
    """Return the same for a body that is not nested too deeply."""
    return body.isascii() and b"\\" not in body and not may_contain_card_number(body)


def is_plain_data(data: Any) -> bool:
    """Return the same for a part of a body, which has been parsed."""
    try:
        return is_plain(orjson.dumps(data))
    except TypeError:  # a lone surrogate, or an integer of more than 64 bits
        return False


# The place and the name of the wrong field in a message of msgspec.
_PATH = re.compile(r" - at (?:`key` in )?`\$\.?([^`]*)`$")
_NAMED = re.compile(r"(?:required|unknown) field `([^`]*)`")


def _invalid(message: str) -> PaymentError:
    path, named = _PATH.search(message), _NAMED.search(message)
    inner = path[1] if path else ""
    param = ".".join(part for part in (inner, shorten_name(named[1]) if named else "") if part) or "body"
    code, detail = "invalid_value", _PATH.sub("", message)
    if named:
        code = "unknown_field" if "unknown" in message else "missing_field"
        detail = f"{'Unknown field' if code == 'unknown_field' else 'This field is required'}: {param}"
    return InvalidRequest(code, detail.replace("`", "") + ".", param=param)


# --- Texts -------------------------------------------------------------------------------------------------


# A position in a body: its parent, and the name or number in it. Formatted only for an error, because a client chooses
# the length of the names and the number of values.
Place = tuple["Place | None", str | int]
_KEY: Place = (None, "idempotency_key")


def check_texts(value: Any, place: Place | None = None, depth: int = 0) -> None:
    """Refuse text that cannot be stored (NUL, a lone surrogate) or must not be (a card number), anywhere."""
    if depth > MAX_DEPTH:
        raise InvalidRequest("invalid_value", "This is nested too deeply.", param=path_of(place))
    if isinstance(value, dict):
        for name, inner in value.items():
            check_text(name, place or (None, name))
            check_texts(inner, (place, name), depth + 1)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            check_texts(inner, (place, number), depth + 1)
    elif isinstance(value, str):
        check_text(value, place)
    elif isinstance(value, int) and value > MAX_AMOUNT and contains_card_number(str(value)):  # smaller ones are none
        raise card_number(place)


def check_text(value: str, place: Place | None) -> None:
    if "\0" in value:
        raise InvalidRequest("invalid_text", "Text cannot contain the character NUL.", param=path_of(place))
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            detail = "Text cannot contain a lone surrogate."
            raise InvalidRequest("invalid_text", detail, param=path_of(place)) from None
    if contains_card_number(strip_timestamps(value) if place == _KEY else value):
        raise card_number(place)


def card_number(place: Place | None) -> PaymentError:
    # The name of the parameter may be the card number itself.
    param = path_of(place)
    detail = "Card numbers are not allowed: send a token."
    return InvalidRequest("card_number", detail, param="body" if contains_card_number(param) else param)


def path_of(place: Place | None) -> str:
    """Return `metadata.colour`, `items[3].amount`, or "body" for the whole."""
    path = ""
    while place is not None:
        place, part = place
        path = (f"[{part}]" if isinstance(part, int) else f".{shorten_name(part)}") + path
    return path.removeprefix(".") or "body"
