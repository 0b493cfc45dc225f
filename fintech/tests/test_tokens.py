import hashlib
import re

import pytest

from fintech import tokens


@pytest.mark.parametrize("kind", tokens.KINDS)
def test_a_token_has_a_prefix_that_may_be_shown_and_256_random_bits(kind):
    token = tokens.issue(kind)

    assert re.fullmatch(rf"{kind}[0-9a-z]{{8}}_[\w-]{{43}}", token.secret)
    assert token.secret.startswith(f"{token.prefix}_")
    assert token.sha256 == hashlib.sha256(token.secret.encode()).digest()
    assert tokens.read_prefix(token.secret, kind) == token.prefix


def test_a_token_is_not_shown_by_its_repr():
    token = tokens.issue(tokens.API_KEY)

    assert token.prefix in repr(token)
    assert token.secret not in repr(token)


def test_a_hash_matches_its_token_alone():
    token = tokens.issue(tokens.SOURCE)

    assert tokens.matches(token.secret, token.sha256)
    for wrong in ("", token.prefix, token.secret[:-1], token.secret.upper(), token.secret + "\ud800"):
        assert not tokens.matches(wrong, token.sha256)


@pytest.mark.parametrize("header", ["Bearer x", "bearer x", "BEARER x", "Bearer  x", "Bearer x "])
def test_a_bearer_token_is_read_in_any_case_and_with_any_spaces(header):
    assert tokens.read_bearer(header) == "x"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic x", "Token x", "x", "Bearerx"])
def test_another_scheme_has_no_bearer_token(header):
    assert tokens.read_bearer(header) == ""


OTHERS = ["", "fk_", "fk_abcdefgh", "fk_abcdefgh_short", f"tr_abcdefgh_{'x' * 43}", f"fk_ABCDEFGH_{'x' * 43}"]


@pytest.mark.parametrize("token", [*OTHERS, f"fk_abcdefgh_{'x' * 44}", f"fk_abcdefgh_{'é' * 43}"])
def test_text_of_another_form_has_no_prefix(token):
    assert tokens.read_prefix(token, tokens.API_KEY) is None
