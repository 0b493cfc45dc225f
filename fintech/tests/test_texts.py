"""Texts for people: which of them show nothing."""

import pytest

from fintech.texts import is_blank


@pytest.mark.parametrize(
    "text", ["", " ", "\t\r\n", "\0", "\u00a0\u3000", "\u200b\u200d\u2060\ufeff", "\u3164", "\ufe0f"]
)
def test_a_text_without_a_visible_character_is_blank(text):
    assert is_blank(text)


@pytest.mark.parametrize("text", ["a", " . ", "\u200b0", "é", "日本", "👍\ufe0f", "\u202b\u05e9\u05dc\u202c"])
def test_a_text_with_a_visible_character_is_not(text):
    assert not is_blank(text)
