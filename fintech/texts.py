"""Texts for people: in commands, in the admin and in answers."""

import re
from typing import Any

import msgspec

MAX_NAME_LENGTH = 64
# White space, control characters, and what Unicode shows as nothing (Default_Ignorable_Code_Point) or as blank. As a
# class that regular expressions of Python and JSON Schema read alike.
INVISIBLE = (
    r"\u0000-\u0020\u007f-\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f"
    r"\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8"
)
_VISIBLE = re.compile(f"[^{INVISIBLE}]")


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun, such as "1 finding" or "1,234 findings"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def is_blank(text: str) -> bool:
    """Return True for a text in which a reader sees nothing."""
    return _VISIBLE.search(text) is None


def contains_nul(data: Any) -> bool:
    """Return True if a text in `data` contains the character NUL: JSON can hold it, and PostgreSQL cannot."""
    return rb"\u0000" in msgspec.json.encode(data)


def printable(text: str) -> str:
    """Return `text` as valid UTF-8: a lone surrogate, which JSON can contain, becomes a question mark."""
    return text.encode(errors="replace").decode()


def shorten_name(name: str) -> str:
    """Shorten a client's name, so that it can be repeated in an answer."""
    return printable(name if len(name) <= MAX_NAME_LENGTH else name[:MAX_NAME_LENGTH] + "...")
