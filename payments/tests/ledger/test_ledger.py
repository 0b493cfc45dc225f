"""The database refuses impossible money: for the application's role, and for mistakes of the owner."""

from collections.abc import Iterator
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import DatabaseError, IntegrityError, connection, connections
from django.db.models.functions import Now
from django.db.transaction import atomic
from psycopg.types.json import Jsonb

from payments.models import Event, IdempotencyKey, LedgerLeg, Refund, Transaction, Unresolved
from payments.tests.consistency import check_books
from payments.tests.shop import Shop

pytestmark = pytest.mark.processes

EVIDENCE = ("payments_event", "payments_ledgerleg", "payments_writer", "payments_idempotencykey")
FINAL = {"succeeded": 1250, "declined": 1901, "failed": 1911}


@pytest.fixture(params=["app", "owner"])
def role(request: pytest.FixtureRequest) -> Iterator[psycopg.Connection]:
    """A connection that takes back whatever it was let do."""
    parameters = connections["default" if request.param == "app" else "owner"].get_connection_params()
    wanted = {name: parameters[name] for name in ("dbname", "user", "host", "port") if parameters.get(name)}
    with psycopg.connect(**wanted) as opened:
        yield opened
        opened.rollback()


def pay(shop: Shop, amount: int = 1250) -> UUID:
    return shop.pay(amount).body.id


def legs_of(transaction: UUID) -> list[tuple[str, int]]:
    return list(LedgerLeg.objects.filter(transaction_id=transaction).values_list("account", "amount"))


# --- Postings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("amount", "fee"), [(1, 0), (33, 0), (34, 1), (1250, 19), (999_999_000_000, 14_999_985_000)])
def test_a_payment_owes_the_merchant_all_but_the_fee_rounded_half_up(shop, amount, fee):
    payment = pay(shop, amount)

    expected = [("gateway_clearing", amount), ("merchant_payable", fee - amount), ("fees", -fee)]
    assert legs_of(payment) == [leg for leg in expected if leg[1]]


@pytest.mark.parametrize(("basis_points", "fee"), [(0, 0), (1, 0), (40, 1), (150, 2), (10_000, 125)])
def test_the_fee_is_a_whole_number_of_minor_units(gateway, shop, basis_points, fee):
    shop = Shop.open(fee_basis_points=basis_points)

    assert Transaction.objects.get(id=pay(shop, 125)).fee == fee


def test_a_fee_as_high_as_the_amount_leaves_nothing_to_the_merchant(shop, gateway):
    shop = Shop.open(fee_basis_points=10_000)

    payment = pay(shop, 500)

    assert legs_of(payment) == [("gateway_clearing", 500), ("fees", -500)]
    check_books(gateway, shop.merchant)


def test_a_change_of_the_rate_applies_to_new_payments_only(gateway, shop):
    shop = Shop.open(fee_basis_points=200)
    unknown = [pay(shop, 1922) for _ in range(2)]
    shop.change_merchant(fee_basis_points=1_000)

    shop.resolve()
    unknown.append(pay(shop, 1922))
    shop.resolve()

    fees = [Transaction.objects.get(id=payment).fee for payment in unknown]
    assert fees == [38, 38, 192]
    check_books(gateway, shop.merchant)


@pytest.mark.parametrize("change", ["fee_basis_points = 0", "gateway = 'other'", "gateway_key = gen_random_uuid()"])
@pytest.mark.parametrize("amount", [1250, 1922], ids=["final", "unknown"])
def test_the_terms_of_a_payment_never_change(shop, role, change, amount):
    with pytest.raises(psycopg.errors.CheckViolation, match="asked for"):
        role.execute(f"UPDATE payments_transaction SET {change} WHERE id = %s", [pay(shop, amount)])


def test_a_fee_that_does_not_follow_from_the_rate_is_refused(shop):
    unknown = Transaction.objects.filter(id=pay(shop, 1922))

    with pytest.raises(IntegrityError, match="transaction_is_consistent"):
        unknown.update(status="succeeded", settled_at=Now(), fee=1)


@pytest.mark.parametrize("amount", [1901, 1911])
def test_no_money_no_legs(shop, amount):
    assert legs_of(pay(shop, amount)) == []


def test_a_refund_is_posted_against_its_payment(shop, gateway):
    payment = pay(shop, 1000)

    shop.refund(payment, 400)

    assert legs_of(payment)[-2:] == [("refunds", 400), ("gateway_clearing", -400)]
    check_books(gateway, shop.merchant)


def test_a_refund_that_could_not_be_stored_is_unknown_and_then_settled(shop, gateway, monkeypatch):
    payment = pay(shop, 1000)
    with monkeypatch.context() as patch:
        patch.setattr("payments.services.refunds._book", lambda *_: 1 / 0)
        reply = shop.refund(payment, 400)
    assert (reply.status_code, reply.body.status) == (202, "unknown")

    Unresolved.objects.filter(refund_id=reply.body.id).update(lease_until=Now())
    shop.resolve()

    assert Refund.objects.get(id=reply.body.id).status == "succeeded"
    check_books(gateway, shop.merchant)


# --- What the database refuses -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "legs",
    [
        [("gateway_clearing", "EUR", 1)],
        [("gateway_clearing", "EUR", 100), ("merchant_payable", "EUR", -99)],
        [("gateway_clearing", "EUR", 100), ("merchant_payable", "USD", -100)],
    ],
    ids=["one leg", "a cent short", "another currency"],
)
def test_legs_that_do_not_sum_to_zero_are_refused(shop, role, legs):
    payment = pay(shop)
    event = Event.objects.filter(transaction_id=payment).latest("id").pk
    statement = (
        "INSERT INTO payments_ledgerleg (event_id, transaction_id, account, currency, amount)"
        " SELECT %s, %s, account, currency, amount"
        " FROM jsonb_to_recordset(%s) AS leg(account text, currency text, amount bigint)"
    )
    rows = [{"account": account, "currency": currency, "amount": amount} for account, currency, amount in legs]

    with pytest.raises(psycopg.errors.CheckViolation, match="not to zero"):
        role.execute(statement, [event, payment, Jsonb(rows)])


def test_an_event_of_an_unknown_transaction_is_refused(shop, role):
    known = pay(shop)
    statement = (
        "INSERT INTO payments_event (transaction_id, kind, at, actor)"
        " SELECT id, 'unknown', now(), 'api' FROM unnest(%s::uuid[]) AS id"
    )

    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="does not exist"):
        role.execute(statement, [[known, uuid4(), known]])


@pytest.mark.parametrize("wrong", ["no event", "an event of another transaction"])
def test_legs_without_an_event_of_their_transaction_are_refused(shop, role, wrong):
    payment, other = pay(shop), pay(shop)
    known = Event.objects.filter(transaction_id=payment).latest("id").pk
    event, transaction = (known + 1_000_000, payment) if wrong == "no event" else (known, other)
    statement = (
        "INSERT INTO payments_ledgerleg (event_id, transaction_id, account, currency, amount)"
        " SELECT event, transaction, account, 'EUR', amount"
        " FROM (VALUES (%s::bigint, %s::uuid), (%s, %s)) AS posting(event, transaction)"
        " CROSS JOIN (VALUES ('gateway_clearing', 7), ('merchant_payable', -7)) AS leg(account, amount)"
    )

    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="has no event"):
        role.execute(statement, [known, payment, event, transaction])


@pytest.mark.parametrize(
    ("account", "amount"), [("gateway_clearing", 0), ("savings", 5)], ids=["nothing", "an unknown account"]
)
def test_a_leg_of_nothing_or_to_nowhere_is_refused(shop, account, amount):
    event = Event.objects.filter(transaction_id=pay(shop)).latest("id")

    with pytest.raises(IntegrityError):
        LedgerLeg.objects.create(
            event=event, transaction_id=event.transaction_id, account=account, currency="EUR", amount=amount
        )


@pytest.mark.parametrize("table", EVIDENCE)
@pytest.mark.parametrize("change", ["UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
def test_evidence_is_only_added_to(role, table, change):
    column = "slot" if table == "payments_writer" else "kind" if table != "payments_ledgerleg" else "account"

    with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.RestrictViolation)):
        role.execute(change.format(table, column, column))


@pytest.mark.parametrize("table", ["payments_merchant", "payments_transaction", "payments_refund"])
@pytest.mark.parametrize("change", ["DELETE FROM {}", "TRUNCATE {} CASCADE"])
def test_no_payment_refund_or_merchant_is_ever_deleted(role, table, change):
    with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.RestrictViolation)):
        role.execute(change.format(table))


@pytest.mark.parametrize("now", ["processing", "unknown", "succeeded", "declined", "failed", "blocked"])
@pytest.mark.parametrize("was", FINAL)
def test_a_final_status_never_changes(shop, role, was, now):
    payment = pay(shop, FINAL[was])
    if was == now:
        return
    with pytest.raises(psycopg.errors.CheckViolation, match="cannot become"):
        role.execute("UPDATE payments_transaction SET status = %s WHERE id = %s", [now, payment])


def test_an_unknown_payment_is_not_processed_again(shop, role):
    payment = pay(shop, 1922)

    with pytest.raises(psycopg.errors.CheckViolation, match="cannot become"):
        role.execute("UPDATE payments_transaction SET status = 'processing' WHERE id = %s", [payment])


@pytest.mark.parametrize(
    "change",
    ["fee = 0", "failure_code = 'oops'", "gateway_reference = 'gw_other'", "settled_at = now()"],
)
def test_the_outcome_of_a_final_payment_never_changes(shop, role, change):
    with pytest.raises(psycopg.errors.CheckViolation, match="nor its outcome"):
        role.execute(f"UPDATE payments_transaction SET {change} WHERE id = %s", [pay(shop)])


@pytest.mark.parametrize(
    "change",
    ["amount = 1", "currency = 'JPY'", "merchant_id = 1", "idempotency_key = 'other'", "created_at = now()"],
)
@pytest.mark.parametrize("amount", [1250, 1922], ids=["final", "unknown"])
def test_the_requested_values_never_change(shop, role, change, amount):
    with pytest.raises(psycopg.errors.CheckViolation, match="asked for"):
        role.execute(f"UPDATE payments_transaction SET {change} WHERE id = %s", [pay(shop, amount)])


@pytest.mark.parametrize(
    "change",
    [
        "status = 'failed'",
        "settled_at = now()",
        "amount = 1",
        "amount_requested = 1",
        "transaction_id = %(other)s",
        "gateway_key = gen_random_uuid()",
    ],
)
def test_a_refund_that_is_final_never_changes(shop, role, change):
    parameters = {"id": shop.refund(pay(shop), 400).body.id, "other": pay(shop)}

    with pytest.raises(psycopg.errors.CheckViolation):
        role.execute(f"UPDATE payments_refund SET {change} WHERE id = %(id)s", parameters)


@pytest.mark.parametrize(
    "fields",
    [
        {"amount_reserved": 1251},
        {"amount_reserved": -1},
        {"amount_refunded": 1},
        {"amount_reserved": 10, "amount_refunded": 11},
    ],
)
def test_refunds_stay_within_the_payment(shop, fields):
    with pytest.raises(IntegrityError):
        Transaction.objects.filter(id=pay(shop)).update(**fields)


def test_only_a_payment_that_succeeded_is_refunded(shop):
    with pytest.raises(IntegrityError):
        Transaction.objects.filter(id=pay(shop, 1901)).update(amount_reserved=1)


@pytest.mark.parametrize("change", [{"settled_at": None}, {"amount": 0}, {"currency": "eur"}, {"status": "paid"}])
def test_half_a_payment_is_refused(change):
    whole = {"idempotency_key": "k", "merchant_id": 1, "amount": 5, "currency": "EUR", "status": "declined"}
    row = Transaction(**whole | {"fee_basis_points": 0, "gateway_key": uuid4()} | change)

    with pytest.raises(IntegrityError), atomic():
        row.save()


def test_a_key_is_taken_once(shop):
    shop.pay(key="k-1")
    again = IdempotencyKey(merchant_id=shop.merchant.pk, key="k-1", resource_id=uuid4(), kind="refund")

    with pytest.raises(IntegrityError, match="duplicate"), atomic():
        again.save(force_insert=True)


def test_the_application_cannot_switch_the_guards_off():
    for statement in (
        "ALTER TABLE payments_event DISABLE TRIGGER ALL",
        "SET session_replication_role = replica",
        "DROP TRIGGER append_only ON payments_event",
    ):
        with pytest.raises(DatabaseError), connection.cursor() as cursor:
            cursor.execute(statement)


def test_refunds_in_any_number_keep_the_books_right(shop, gateway):
    payment = pay(shop, 1500)
    for amount in (1, 400, 901, 98):
        shop.refund(payment, amount)

    row = Transaction.objects.get(id=payment)
    assert (row.amount_reserved, row.amount_refunded) == (499, 499)
    assert Refund.objects.filter(transaction=row, status="succeeded").count() == 3
    check_books(gateway, shop.merchant)
