"""Texts for people, in commands and in the admin."""


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun, such as "1 finding" or "1,234 findings"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
