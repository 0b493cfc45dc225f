"""Codes of failures, and the advice that merchants get with them."""

import re
from pathlib import Path
from typing import get_args

import pytest

from loadtests.gateway.outcomes import MAGIC, Does
from payments.failures import FAILURES, OTHER_MESSAGE, Advice
from payments.models import Transaction
from payments.serializers import serialize_failure

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "api.md"


def documented() -> dict[str, str]:
    """Return the advice of each code in the documents' table."""
    text = DOCUMENT.read_text()
    table = text[text.index("| code | advice |") :].split("\n\n")[0].splitlines()[2:]
    rows = [re.findall(r"`([a-z_]+)`", row.rpartition("|")[0].rpartition("|")[0]) for row in table]
    return {code: advice for *codes, advice in rows for code in codes}


def test_the_documents_name_each_code_with_its_advice():
    assert documented() == {code: advice for code, (_, advice) in FAILURES.items()}


def test_each_decline_of_the_simulator_has_an_advice():
    declines = {behaviour.code for behaviour in MAGIC.values() if behaviour.does is Does.DECLINE}

    assert len(declines) >= 4
    assert declines <= FAILURES.keys()


@pytest.mark.parametrize("code", ["never_heard_of", "INSUFFICIENT_FUNDS", "insufficient_funds "])
def test_an_unknown_code_is_passed_on_without_an_advice(code):
    failure = serialize_failure(code)

    assert failure is not None
    assert (failure.code, failure.message, failure.advice) == (code, OTHER_MESSAGE, None)


@pytest.mark.parametrize("code", [None, ""])
def test_without_a_failure_there_is_no_advice(code):
    assert serialize_failure(code) is None


def test_every_advice_is_given():
    assert {advice for _, advice in FAILURES.values()} == set(get_args(Advice))


SHARED = [
    "processing_error",
    "not_reached",
    "circuit_open",
    "acquirer_unavailable",
    "cancelled",
    "currency_differs",
    "amount_not_representable",
    "never_heard_of",
]


@pytest.mark.parametrize("code", SHARED)
def test_the_message_of_a_code_that_several_operations_share_names_none_of_them(code):
    failure = serialize_failure(code)

    assert failure is not None
    assert not re.search("charge|authoriz|captur|void|refund", failure.message), failure.message


@pytest.mark.processes
@pytest.mark.parametrize(
    ("amount", "code", "advice"),
    [
        (1901, "insufficient_funds", "retry_later"),
        (1902, "do_not_honor", "retry_with_other_method"),
        (1903, "expired_card", "retry_with_other_method"),
        (1904, "lost_or_stolen", "do_not_retry"),
    ],
)
@pytest.mark.parametrize("capture", [True, False])
def test_a_declined_payment_and_its_replay_have_the_advice(shop, amount, code, advice, capture):
    first = shop.pay(amount, key=f"{code}-{capture}", capture=capture)
    again = shop.pay(amount, key=f"{code}-{capture}", capture=capture)

    for reply in (first, again):
        assert (reply.body.status, reply.body.failure.code, reply.body.failure.advice) == ("declined", code, advice)
    assert Transaction.objects.get(id=first.body.id).failure_code == code
