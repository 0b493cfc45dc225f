"""The file itself refuses what must never be true, whatever the code above it does."""

import sqlite3
from pathlib import Path

import pytest

from loadtests.gateway.store import Decision, Dispute, Store, StoreError

CHARGE = Decision("charge", "c", "approved", amount=1000, currency="EUR", reference="gw_1")
COLUMNS = ", ".join(Decision._fields)
REFUND = Decision("refund", "r", "approved", charge="c", amount=1000, currency="EUR", reference="gw_2")


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "new" / "gateway.sqlite3"


@pytest.fixture
def store(path):
    store = Store(path)
    store.decide(CHARGE)
    yield store
    store.close()


def raw(path: Path, statement: str) -> None:
    """Execute a statement, like a user with a SQLite shell."""
    with sqlite3.connect(path) as db:
        db.execute(statement)
    db.close()


@pytest.mark.parametrize(
    "values",
    [
        "'charge', 'c', 'approved', NULL, NULL, 5, 'EUR', 'gw_9'",
        "'charge', 'c', 'cancelled', NULL, NULL, NULL, NULL, NULL",
        "'charge', 'x', 'approved', NULL, NULL, 5, 'EUR', NULL",
        "'charge', 'x', 'approved', NULL, NULL, NULL, NULL, 'gw_9'",
        "'charge', 'x', 'approved', NULL, NULL, 5, NULL, 'gw_9'",
        "'charge', 'x', 'approved', NULL, NULL, 0, 'EUR', 'gw_9'",
        "'charge', 'x', 'approved', NULL, NULL, 12.5, 'EUR', 'gw_9'",
        "'charge', 'x', 'approved', NULL, 'c', 5, 'EUR', 'gw_9'",
        "'charge', 'x', 'declined', NULL, NULL, 5, 'EUR', NULL",
        "'charge', 'x', 'maybe', NULL, NULL, 5, 'EUR', NULL",
        "'gift', 'x', 'cancelled', NULL, NULL, NULL, NULL, NULL",
    ],
)
def test_the_file_refuses_a_row_that_cannot_be_true(store, path, values):
    store.close()

    with pytest.raises(sqlite3.IntegrityError):
        raw(path, f"INSERT INTO decision ({COLUMNS}) VALUES ({values}, NULL)")


@pytest.mark.parametrize("statement", ["UPDATE decision SET amount = 1", "DELETE FROM decision"])
def test_the_file_refuses_to_change_or_forget_a_decision(store, path, statement):
    store.close()

    with pytest.raises(sqlite3.IntegrityError):
        raw(path, statement)


@pytest.mark.parametrize(
    "refund",
    [
        REFUND._replace(amount=1001),
        REFUND._replace(charge="other"),
        REFUND._replace(currency="USD"),
        REFUND._replace(charge=None),
    ],
)
def test_the_file_refuses_a_refund_beyond_its_charge(store, refund):
    with pytest.raises(sqlite3.IntegrityError):
        store.decide(refund)

    assert store.totals()["EUR"]["refunds"] == 0


def test_several_refunds_fill_the_charge_exactly(store):
    for number in range(4):
        store.decide(REFUND._replace(key=f"r{number}", amount=250))

    assert store.left_to_refund("c") == (0, "EUR")
    with pytest.raises(sqlite3.IntegrityError):
        store.decide(REFUND._replace(amount=1))


@pytest.mark.parametrize(("state", "left"), [("opened", 700), ("lost", 700), ("won", 1000)])
def test_money_of_a_dispute_that_is_not_won_does_not_remain(store, state, left):
    dispute = Dispute("d", "c", "2026-01-01T00:00:00Z", 300, "EUR", 0, "fraudulent", state, 1, None)

    store.save_dispute(dispute, None, b"{}")

    assert store.left_to_refund("c") == (left, "EUR")


def test_the_first_decision_stays(store):
    other = CHARGE._replace(reference="gw_3", amount=7)

    assert store.decide(other) == (CHARGE, False)
    assert store.decide(Decision("charge", "c", "cancelled")) == (CHARGE, False)
    assert store.find("charge", "c") == CHARGE


def test_the_totals_are_the_sum_of_the_records(store):
    store.decide(CHARGE._replace(key="c2", currency="JPY", amount=5))
    store.decide(Decision("charge", "c3", "declined", "expired_card", amount=9, currency="EUR"))
    store.decide(REFUND._replace(amount=400))

    assert store.totals() == {
        "EUR": {"charged": 1000, "charges": 1, "refunded": 400, "refunds": 1},
        "JPY": {"charged": 5, "charges": 1, "refunded": 0, "refunds": 0},
    }
    assert [(row["kind"], row["amount"]) for row in store.records(0, 9)] == [
        ("charge", 1000),
        ("charge", 5),
        ("refund", 400),
    ]


def test_a_second_process_cannot_take_the_file(store, path):
    with pytest.raises(StoreError, match="cannot be used: database is locked"):
        Store(path)


@pytest.mark.parametrize("content", [b"not a database" * 100, None])
def test_a_path_that_is_no_database_is_refused_with_a_sentence(tmp_path, content):
    path = tmp_path / "gateway.sqlite3"
    if content:
        path.write_bytes(content)
    else:
        path.mkdir()

    with pytest.raises(StoreError, match=r"^The data file .* cannot be used: .*\.$"):
        Store(path)


def test_a_first_attempt_is_a_first_attempt_once(store, path):
    assert (store.first_attempt("charge", "k"), store.first_attempt("charge", "k")) == (True, False)
    assert store.first_attempt("refund", "k")

    store.close()
    reopened = Store(path)

    assert not reopened.first_attempt("charge", "k")
    reopened.close()
