"""Card numbers have no place here: how to tell one, and how to mask it."""

import re

# 13 to 19 digits in one run, or in the groups that cards are printed in (4-4-4-..., 4-6-5, 4-6-4). Groups of other
# sizes are not taken for a card: a UUID may happen to be all digits.
_CANDIDATE = re.compile(
    r"(?<![0-9A-Za-z])"
    r"(?:\d{13,19}|(?:\d{4}[ -]){3}\d{1,7}|(?:\d{4}[ -]){4}\d{1,3}|\d{4}[ -]\d{6}[ -]\d{4,5})"
    r"(?![0-9A-Za-z])"
)


def passes_luhn(digits: str) -> bool:
    """The check digit of ISO/IEC 7812-1, annex B."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _is_card_number(candidate: str) -> bool:
    digits = candidate.replace(" ", "").replace("-", "")
    return 13 <= len(digits) <= 19 and passes_luhn(digits)


def contains_card_number(text: str) -> bool:
    return len(text) >= 13 and any(_is_card_number(match[0]) for match in _CANDIDATE.finditer(text))


def mask_card_numbers(text: str) -> str:
    """`text` with each card number replaced by `[card number]`."""
    return _CANDIDATE.sub(lambda match: "[card number]" if _is_card_number(match[0]) else match[0], text)
