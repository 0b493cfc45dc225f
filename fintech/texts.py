"""Texts for people: in commands, in the admin and in answers."""

MAX_NAME_LENGTH = 64


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun, such as "1 finding" or "1,234 findings"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    """Return `text` as valid UTF-8: a lone surrogate, which JSON can contain, becomes a question mark."""
    return text.encode(errors="replace").decode()


def shorten_name(name: str) -> str:
    """Shorten a client's name, so that it can be repeated in an answer."""
    return printable(name if len(name) <= MAX_NAME_LENGTH else name[:MAX_NAME_LENGTH] + "...")
