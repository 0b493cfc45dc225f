"""Card numbers: detection, false positives, and the cost of a search."""

import secrets
import time
import uuid
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fintech.cards import contains_card_number, mask_card_numbers, passes_luhn, strip_timestamps

# Test numbers of the networks, in the lengths that exist.
NUMBERS = [
    "4222222222222",
    "30569309025904",
    "378282246310005",
    "4111111111111111",
    "5555555555554444",
    "6011111111111117",
    "3530111333300000",
    "62406888888888888",
    "6304000000000000",
    "6759649826438453",
    "6304000000000000000",
]
NO_CARDS = [
    "",
    "1250",
    "411111111111",  # 12 digits
    "4111111111111112",  # a wrong check digit
    "41111111111111111111",  # 20 digits
    "4111-1111-1111-111-1",
    "411 1111 1111 1111 1",
    "4111  1111  1111  1111",
    "019aab3c-5b7e-7c3e-9d0e-2f4b6a8c0e12",
    "12345678-1234-1234-1234-123456789012",
    "2026-11-22T14:27:36.214576+00:00",
    "+49 171 1234567",
    "DE89370400440532013000",
    "192.168.100.200",
]


@pytest.mark.parametrize("number", NUMBERS)
def test_card_numbers_are_found_alone_and_in_text(number):
    around = ("{}", "card: {}.", "a\n{}\tb", "tok_{}", '"n":"{}"', "card{}x")
    for text in (each.format(number) for each in around):
        assert contains_card_number(text), text
        assert number not in mask_card_numbers(text)


@pytest.mark.parametrize("separator", [" ", "-", ".", "_", "\u00a0"])
@pytest.mark.parametrize(
    ("number", "groups"),
    [
        ("4111111111111111", (4, 4, 4, 4)),
        ("4222222222222", (4, 4, 4, 1)),
        ("378282246310005", (4, 6, 5)),
        ("30569309025904", (4, 6, 4)),
        ("6304000000000000000", (4, 4, 4, 4, 3)),
    ],
)
def test_card_numbers_are_found_in_the_groups_that_are_printed(number, groups, separator):
    ends = list(accumulate(groups))
    printed = separator.join(number[end - size : end] for size, end in zip(groups, ends, strict=True))

    assert contains_card_number(printed)
    assert mask_card_numbers(f"a {printed} b") == "a [card number] b"


@pytest.mark.parametrize("text", ["2026 4111 1111 1111 1111", "4111 1111 1111 1111 2028", "7: 4111111111111111 123"])
def test_other_numbers_beside_it_do_not_hide_it(text):
    assert contains_card_number(text)


def test_digits_of_other_scripts_are_digits():
    wide = "4111111111111111".translate({ord("0") + digit: 0xFF10 + digit for digit in range(10)})

    assert contains_card_number(wide)


@given(st.lists(st.sampled_from([*NUMBERS, *NO_CARDS, "4111 1111 1111 1111", *"0123456789 -._ax"])).map("".join))
def test_a_text_of_plain_letters_is_not_looked_through_less(text):
    """The quick look, which a letter of another alphabet rules out."""
    assert contains_card_number(text) == contains_card_number(f"{text}é")


@pytest.mark.parametrize("text", NO_CARDS)
def test_other_texts_are_left_alone(text):
    assert not contains_card_number(text)
    assert mask_card_numbers(text) == text


def test_hexadecimal_tokens_are_left_alone():
    assert not contains_card_number("a4111111111111111f")
    assert not any(contains_card_number(str(uuid.uuid4())) for _ in range(5_000))
    assert not any(contains_card_number("a" + secrets.token_hex(16) + "f") for _ in range(5_000))


def test_all_card_numbers_of_a_text_are_masked():
    text = "4111111111111111, 5555 5555 5555 4444 and 378282246310005"

    assert mask_card_numbers(text) == "[card number], [card number] and [card number]"


@pytest.mark.parametrize("number", NUMBERS)
def test_one_wrong_digit_is_noticed(number):
    assert passes_luhn(number)
    for place in range(len(number)):
        wrong = number[:place] + str((int(number[place]) + 1) % 10) + number[place + 1 :]
        assert not passes_luhn(wrong)


@pytest.mark.parametrize("clock", ["1769699379123", "1769699379123456", "1769699379123456789"])
def test_a_key_may_be_made_of_the_time(clock):
    assert strip_timestamps(f"order-{clock}") == "order-"
    assert strip_timestamps("order-4111111111111111") == "order-4111111111111111"
    assert contains_card_number(strip_timestamps(f"{clock}:4111111111111111"))


@pytest.mark.parametrize("text", ["1 " * 500_000, "4111" * 250_000, "a" * 1_000_000, "-" * 1_000_000, "4 1" * 300_000])
def test_a_megabyte_is_searched_in_little_time(text):
    start = time.process_time()
    contains_card_number(text)
    assert time.process_time() - start < 2
