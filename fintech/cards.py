"""Detect and mask card numbers, which must not be stored."""

import re
import string
from collections.abc import Iterator

# 13 to 19 digits without separators, or in the groups of printed cards (4-4-4-..., 4-6-5, 4-6-4). Other groups are not
# a card number: a UUID may consist of digits only.
_SHAPES = (r"\d{13,19}", r"(?:\d{4}S){3}\d{1,7}", r"(?:\d{4}S){4}\d{1,3}", r"\d{4}S\d{6}S\d{4,5}")
# Every form is searched at every position: a number that is no card may precede one, as in "2026 4111 1111 ...".
_CANDIDATES = re.compile(
    r"(?<!\d)(?=\d{4})" + "".join(rf"(?=({shape}(?!\d))?)" for shape in _SHAPES).replace("S", r"[ .\-_\u00a0]")
)
MIN_DIGITS = 13
# Every form in ASCII, with its digits and separators as zeros: found in a tenth of an expression's time.
_AS_ZEROS, _RUN = bytes.maketrans(b"123456789 .-_", b"0" * 13), b"0" * MIN_DIGITS
_NO_DIGITS = re.compile(r"\D")
# The time since 1970 in milliseconds, microseconds or nanoseconds: one in ten has a valid check digit.
_CLOCK = re.compile(r"(?<!\d)1\d{12}(?:\d{3}){0,2}(?!\d)")
SHORTEST_TIME = 13  # digits
_HEX, _WORD = frozenset(string.hexdigits), string.ascii_letters + string.digits
_MAX_TOKEN_LENGTH = 64


def passes_luhn(digits: str) -> bool:
    """Verify the check digit of ISO/IEC 7812-1, annex B."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _card_numbers(text: str) -> Iterator[tuple[int, int]]:
    """Yield the positions of card numbers, in order; they may overlap."""
    if text.isascii() and _RUN not in text.encode().translate(_AS_ZEROS):  # most texts, such as log lines
        return
    for match in _CANDIDATES.finditer(text):
        for shape in range(1, len(_SHAPES) + 1):
            if match[shape] and _is_card_number(text, *match.span(shape)):
                yield match.span(shape)


def _is_card_number(text: str, start: int, end: int) -> bool:
    digits = _NO_DIGITS.sub("", text[start:end])
    return MIN_DIGITS <= len(digits) <= 19 and passes_luhn(digits) and not _is_within_hex(text, start, end)


def _is_within_hex(text: str, start: int, end: int) -> bool:
    """Return True for digits inside a hexadecimal token, which can have so many in a row. `card4111...` is none."""
    before, after = text[max(0, start - _MAX_TOKEN_LENGTH) : start], text[end : end + _MAX_TOKEN_LENGTH]
    around = before[len(before.rstrip(_WORD)) :] + after[: len(after) - len(after.lstrip(_WORD))]
    return around != "" and _HEX.issuperset(around)


def may_contain_card_number(body: bytes) -> bool:
    """Return False only if no text between quotation marks contains a card number. Quick, for a whole ASCII body."""
    runs = body.translate(_AS_ZEROS)
    place = runs.find(_RUN)
    while place >= 0:
        start, end = body.rfind(b'"', 0, place) + 1, body.find(b'"', place)
        if contains_card_number(body[start : end if end >= 0 else None].decode()):
            return True
        place = runs.find(_RUN, end) if end >= 0 else -1
    return False


def contains_card_number(text: str) -> bool:
    return len(text) >= MIN_DIGITS and any(_card_numbers(text))


def mask_card_numbers(text: str) -> str:
    """Replace each card number in `text` by `[card number]`."""
    parts, done = [], 0
    for start, end in _card_numbers(text):
        if start >= done:
            parts += [text[done:start], "[card number]"]
        done = max(done, end)
    return "".join([*parts, text[done:]]) if parts else text


def strip_timestamps(key: str) -> str:
    """Return an idempotency key without its timestamp. No card number of these lengths begins with 1."""
    return _CLOCK.sub("", key)
