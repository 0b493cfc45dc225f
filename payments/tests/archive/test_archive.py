"""Payments at rest go into a verified file, and everything that must be true of the books stays true."""

import json
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connections
from django.db.transaction import atomic
from django.test import RequestFactory

from fintech import archive_files
from fintech.adminsite.changelists import KeysetChangeList
from fintech.testing.processes import wait_until
from payments.api.transaction_pages import transaction_page
from payments.archive import archive as steps
from payments.archive import drop, files
from payments.archive.archive import ArchiveError
from payments.errors import NotFound
from payments.gateway.registry import FACTORIES
from payments.kpis.gauges import dispute_counts
from payments.kpis.totals import ledger_totals
from payments.ledger.running_sums import Balance, OtherGateways
from payments.models import (
    Archive,
    IdempotencyKey,
    LedgerLeg,
    Transaction,
    Unresolved,
    WebhookDelivery,
    WebhookEvent,
)
from payments.tests.archive.books import DROPPED, Books, refund
from payments.tests.factories import make_payment, sign_in
from payments.webhooks import redelivery
from payments.webhooks.endpoints import create_endpoint
from payments.worker.jobs import LedgerJobs

NOTHING = dict.fromkeys(DROPPED, 0)
BALANCES = """
SELECT account, currency, sum(amount)::bigint FROM (
    SELECT account::text, currency, amount FROM payments_ledgerleg
    UNION ALL SELECT account, currency, amount FROM payments_archivedtotal WHERE account <> ''
) AS posted GROUP BY 1, 2 ORDER BY 1, 2
"""


def totals() -> tuple[object, ...]:
    """Read what the KPIs and the watch of the ledger know."""
    counted = ledger_totals()
    return +Counter(counted.count), +Counter(counted.amount), dispute_counts(), Balance().measure()


# --- The success --------------------------------------------------------------------------------------------------


def test_all_that_belongs_to_payments_at_rest_moves_into_the_file(books: Books):
    result = books.archive()

    assert (result.payments, result.dropped, result.stays) == (7, 7, 0)
    assert books.left() == NOTHING
    (path,) = books.files()
    _, contents = files.check(path)
    assert contents.as_json() | {"sha256": ""} == {
        "payments": 7,
        "events": 23,
        "legs": 24,
        "captures": 1,
        "voids": 0,
        "refunds": 1,
        "disputes": 2,
        "reviews": 0,
        "dispute_responses": 0,
        "webhook_events": 23,
        "deliveries": 23,
        "attempts": 23,
        "sums": {
            "EUR": {
                "gateway_clearing": 7080,
                "merchant_payable": -7980,
                "refunds": 400,
                "disputes_held": 0,
                "disputes_lost": 500,
            }
        },
        "sha256": "",
    }


def test_the_books_and_the_kpis_say_the_same_as_before(books: Books):
    with books.used():
        before = totals()
        balances = books.query(BALANCES)

        books.archive()

        assert totals() == before
        assert books.query(BALANCES) == balances
    assert books.findings() == []


def test_money_of_other_gateways_is_counted_wherever_it_is(books: Books):
    books.tamper("UPDATE payments_transaction SET gateway = 'other'")
    with books.used():
        watched = OtherGateways()
        before = watched.measure()
        assert (before["succeeded", "EUR"], before["capture_succeeded", "EUR"]) == (5010, 3000)

        books.archive()

        assert watched.measure() == OtherGateways().measure() == before


def test_a_worker_that_leads_again_counts_what_another_leader_archived(books: Books, monkeypatch):
    books.tamper("UPDATE payments_transaction SET gateway = 'other'")
    monkeypatch.setitem(FACTORIES, "other", FACTORIES[settings.GATEWAY_NAME])
    with books.used():
        ledger = LedgerJobs()
        before = ledger.other_gateways.measure()
        first = LedgerLeg.objects.order_by("id")[0]
        for sums in (ledger.other_gateways, ledger.balance):  # its lead ended after the first leg
            sums.measure()
            sums._settled.clear()
            sums._upto = first.pk
        ledger.balance._settled[first.currency] = first.amount

        books.archive()
        ledger.begin_to_lead()

        assert ledger.other_gateways.measure() == before
        assert not ledger.balance.measure()


def test_payments_and_their_keys_stay(books: Books):
    with books.used():
        keys = IdempotencyKey.objects.count()

        books.archive()

        assert set(Transaction.objects.values_list("pk", flat=True)) == set(books.payments)
        assert IdempotencyKey.objects.count() == keys


def test_a_second_run_finds_nothing(books: Books):
    books.archive()

    assert books.archive() is None
    assert len(books.files()) == 1


def test_a_dry_run_changes_nothing(books: Books):
    left = books.left()

    assert books.archive(dry_run=True).payments == 7

    assert books.left() == left
    assert books.files() == []


def test_a_payment_can_be_refunded_after_it_was_archived_and_is_archived_again(books: Books):
    books.archive()
    with books.used():
        refund(Transaction.objects.get(pk=books.payments[1]), 300)
    assert books.findings() == []
    books.come_to_rest()

    assert books.archive().dropped == 1

    assert books.left() == NOTHING
    assert books.findings() == []
    with books.used():
        assert Archive.objects.holding(books.payments[1]).count() == 2


# --- What is not at rest stays -------------------------------------------------------------------------------------


def processing(books: Books) -> None:
    payment = Transaction.objects.get(pk=books.payments[2])
    refund(payment, 100, status="processing")


def being_resolved(books: Books) -> None:
    Unresolved.objects.create(
        resource_id=books.payments[2], transaction_id=books.payments[2], lease_until=datetime.now(UTC)
    )


def waiting(books: Books) -> None:
    deliveries = WebhookDelivery.objects.filter(event__journal__transaction=books.payments[2])
    deliveries.update(status="pending")


def challenged(books: Books) -> None:
    books.tamper(
        "INSERT INTO payments_authentication (transaction_id, url, expires_at, due_at, gateway_key)"
        " VALUES (%s, 'https://bank.example', now(), now(), gen_random_uuid())",
        books.payments[2],
    )


def not_announced(books: Books) -> None:
    first = "(SELECT min(id) FROM payments_event WHERE transaction_id = %s)"
    books.tamper(f"UPDATE payments_webhookwatermark SET event_id = {first}", books.payments[5])


def not_counted(books: Books) -> None:
    first = "(SELECT min(id) FROM payments_event WHERE transaction_id = %s)"
    books.tamper(f"UPDATE payments_kpiwatermark SET event_id = {first}", books.payments[5])


def settled_later(books: Books) -> None:
    books.tamper(
        "UPDATE payments_event SET at = now() + interval '1 day' WHERE transaction_id = %s AND kind <> 'processing'",
        books.payments[2],
    )


@pytest.mark.parametrize(
    "change", [processing, being_resolved, waiting, challenged, not_announced, not_counted, settled_later]
)
def test_a_payment_that_is_not_at_rest_stays_whole_and_is_counted(books: Books, change):
    with books.used():
        change(books)
    events = "SELECT count(*) FROM payments_event WHERE transaction_id = %s"
    changed = books.payments[5] if change in (not_announced, not_counted) else books.payments[2]
    there = books.query(events, changed)

    result = books.archive()

    assert 1 <= result.stays <= 7 - result.dropped
    assert books.query(events, changed) == there


def test_later_payments_stay(books: Books):
    before = datetime.now(UTC)
    with books.used():
        make_payment(Transaction.objects.first().merchant)
    books.come_to_rest()

    assert books.archive(before=before).dropped == 7

    assert books.left()["event"] == 2


def test_a_payment_that_changed_between_export_and_deletion_stays(books: Books, monkeypatch):
    changed = books.payments[3]

    def refund_first(*arguments):
        refund(Transaction.objects.get(pk=changed), 100, status="processing")
        return drop.drop(*arguments)

    monkeypatch.setattr(steps, "drop", refund_first)

    result = books.archive()

    assert (result.payments, result.dropped) == (7, 6)
    assert books.query("SELECT DISTINCT transaction_id FROM payments_event") == [(changed,)]
    with books.used():
        assert not Archive.objects.holding(changed).exists()


@pytest.mark.parametrize("wanted", ["an event", "a period"])
def test_webhooks_that_a_new_endpoint_wants_while_they_are_archived_are_archived(books: Books, monkeypatch, wanted):
    with books.used():
        event = WebhookEvent.objects.earliest("id")
        endpoint, _ = create_endpoint(merchant_id=event.merchant_id, url="https://new.example/events")
        after = event.at + timedelta(hours=1)
    answers: list[Any] = []

    def redeliver() -> None:
        with books.connected():
            try:
                if wanted == "an event":
                    answers.append(redelivery.redeliver_event(endpoint, event.pk))
                else:
                    answers.append(redelivery.redeliver_range(endpoint, event.at - timedelta(hours=1), after))
            except (NotFound, IntegrityError) as error:
                answers.append(type(error))

    thread = threading.Thread(target=redeliver)
    read = drop.read_units

    def read_while_they_are_queued(*arguments, **options):
        thread.start()
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s"
        wait_until(lambda: books.query(waiting, books.name) == [(1,)], timeout=60, what="the redelivery waits")
        return read(*arguments, **options)

    monkeypatch.setattr(drop, "read_units", read_while_they_are_queued)

    assert books.archive().dropped == 7

    thread.join()
    assert answers == ([NotFound] if wanted == "an event" else [0])


# --- Interruptions -------------------------------------------------------------------------------------------------


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("module", "step"), [(files, "write"), (files, "check"), (steps, "drop"), (drop, "read_units")]
)
def test_an_interrupted_run_is_taken_up_by_the_next(books: Books, monkeypatch, module, step):
    with monkeypatch.context() as crash:
        crash.setattr(module, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            books.archive()
    assert books.left()["event"] == 23
    assert books.findings() == []

    books.archive()

    assert books.left() == NOTHING
    assert books.query("SELECT count(*) FROM payments_archive") == [(1,)]
    assert books.findings() == []


def test_a_run_that_dropped_a_part_goes_on_with_the_next(books: Books, monkeypatch):
    monkeypatch.setattr(drop, "PART", 2)
    monkeypatch.setattr(steps, "PART", 2)
    read, calls = drop.read_units, []

    def dies_at_the_second(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return read(*arguments, **options)

    with monkeypatch.context() as crash:
        crash.setattr(drop, "read_units", dies_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            books.archive()
    assert books.query("SELECT count(*) FROM payments_archivedpart") == [(1,)]
    assert books.findings() == []

    books.archive()

    assert books.left() == NOTHING
    assert books.query("SELECT number, cardinality(payments) FROM payments_archivedpart ORDER BY 1") == [
        (0, 2),
        (1, 2),
        (2, 2),
        (3, 1),
    ]
    assert books.findings() == []


# --- Refusals ------------------------------------------------------------------------------------------------------


def test_the_future_is_not_archived(books: Books):
    with pytest.raises(ArchiveError, match="in the future"):
        books.archive(before=datetime.now(UTC) + timedelta(days=1))


def test_only_the_owner_of_the_schema_archives(books: Books):
    with books.used():
        connections["owner"] = connections["default"]
        with pytest.raises(ArchiveError, match="owner of the schema"):
            steps.archive(before=datetime.now(UTC), directory=books.folder, by="eve", progress=interrupted)


def test_two_runs_do_not_archive_at_once(books: Books, monkeypatch):
    def another_run(*_):
        assert_refused()
        return 0

    def assert_refused() -> None:
        with pytest.raises(ArchiveError, match="Another run"):
            books.archive()

    monkeypatch.setattr(steps, "drop", another_run)
    books.archive()


def test_nothing_is_dropped_if_the_file_cannot_be_written(books: Books, tmp_path):
    (tmp_path / "no folder").touch()

    with pytest.raises(OSError, match="no folder"):
        books.archive(directory=tmp_path / "no folder")

    assert books.left()["event"] == 23


def test_nothing_is_dropped_without_the_file(books: Books, monkeypatch):
    with monkeypatch.context() as crash:
        crash.setattr(steps, "drop", interrupted)
        with pytest.raises(KeyboardInterrupt):
            books.archive()
    books.files()[0].unlink()

    with pytest.raises(ArchiveError, match="restore it"):
        books.archive()

    assert books.left()["event"] == 23


def test_no_file_is_ever_replaced(books: Books):
    books.folder.mkdir()
    other = books.folder / f"payments-before-{datetime.now(UTC):%Y-%m-%d}-1.jsonl.gz"
    other.write_text("of another database")

    books.archive()

    assert other.read_text() == "of another database"
    assert len(books.files()) == 2
    with pytest.raises(FileExistsError):
        archive_files.write(other, [b"{}"], overwrite=False)


def refused(statement: str) -> None:
    with connections["owner"].cursor() as cursor, pytest.raises(IntegrityError, match="is append-only"):
        cursor.execute(statement)


def test_the_database_refuses_to_delete_what_no_archive_has(filled: Books):
    with filled.used():
        for table in DROPPED:
            refused(f"DELETE FROM payments_{table}")


def test_the_database_refuses_to_delete_more_than_a_part_names(books: Books):
    books.archive()
    with books.used():
        make_payment(Transaction.objects.first().merchant)
    books.come_to_rest()
    with books.used():
        for table in DROPPED:
            with atomic(using="owner"), connections["owner"].cursor() as cursor:
                cursor.execute("SELECT set_config('payments.archived_part', id::text, true) FROM payments_archivedpart")
                refused(f"DELETE FROM payments_{table}")
                connections["owner"].set_rollback(True)


def test_all_other_changes_are_refused_as_before(archived: Books):
    with archived.used():
        for table in ("event", "ledgerleg", "webhookevent", "webhookattempt", "archive", "archivedpart"):
            refused(f"UPDATE payments_{table} SET id = id")
            refused(f"TRUNCATE payments_{table} CASCADE")
        for table in ("archive", "archivedpart"):
            refused(f"DELETE FROM payments_{table}")


# --- Altered files and books ---------------------------------------------------------------------------------------


def rewrite(path: Path, change, folder: Path) -> Path:
    copy = folder / path.name
    lines = [line.removesuffix(b"\n") for line in archive_files.read_lines(path)]
    archive_files.write(copy, change(lines), overwrite=False)
    return copy


def without_leg(lines: list[bytes]) -> list[bytes]:
    unit = json.loads(lines[1])
    del unit["legs"][0]
    return [lines[0], json.dumps(unit).encode(), *lines[2:]]


def of_another(lines: list[bytes]) -> list[bytes]:
    first, second = json.loads(lines[1]), json.loads(lines[2])
    first["events"] = second["events"]
    return [lines[0], json.dumps(first).encode(), *lines[2:]]


ALTERED = {
    "an actor": (
        lambda lines: [line.replace(b'"actor": "api"', b'"actor": "eve"') for line in lines],
        "its end states",
    ),
    "a unit less": (lambda lines: [lines[0], *lines[2:]], "its end states"),
    "another order": (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], "its end states"),
    "no end": (lambda lines: lines[:-1], "has no end"),
    "more after its end": (lambda lines: [*lines, lines[1]], "goes on after its end"),
    "half a line": (lambda lines: [*lines[:2], b"{", *lines[2:]], "line 3 is not valid"),
    "no unit": (lambda lines: [*lines[:2], b"{}", *lines[2:]], "line 3 is not valid"),
    "another format": (lambda lines: [b'{"format": "another"}', *lines[1:]], "no archive of payments"),
    "nothing": (lambda lines: [], "has no end"),
    "a leg less": (without_leg, "do not sum to zero"),
    "rows of another payment": (of_another, "a row of another one"),
}


@pytest.mark.parametrize("case", ALTERED)
def test_an_altered_file_is_refused(archived: Books, tmp_path, case):
    change, said = ALTERED[case]
    altered = rewrite(archived.files()[0], change, tmp_path)

    with pytest.raises(CommandError, match=said):
        call_command("archive_payments", "--verify", str(altered))


def test_a_damaged_file_is_refused(archived: Books, tmp_path):
    content = archived.files()[0].read_bytes()
    for damaged in (content[:-9], content[:60] + bytes(2) + content[62:], b"no gzip"):
        path = tmp_path / "damaged.jsonl.gz"
        path.write_bytes(damaged)

        with pytest.raises(files.Invalid):
            files.check(path)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE payments_archivedtotal SET amount = amount + 1 WHERE account = 'merchant_payable'",
        "DELETE FROM payments_archivedtotal WHERE account = 'refunds'",
        "UPDATE payments_refund SET amount = 399",
        "UPDATE payments_archivedpart SET payments = payments[2:]",
        "DELETE FROM payments_archivedpart",
    ],
)
def test_the_audit_finds_what_was_changed_after_archiving(books: Books, statement):
    books.archive()
    assert books.findings() == []

    books.tamper(statement)

    assert "archives_add_up" in {finding.check for finding in books.findings()}


# --- Found again ---------------------------------------------------------------------------------------------------


def command(books: Books, capsys, *arguments: str) -> str:
    with books.used():
        call_command("archive_payments", *arguments)
    return capsys.readouterr().out


def test_the_command_says_what_it_did_and_where_the_evidence_is_now(books: Books, capsys):
    now = datetime.now(UTC).isoformat()
    assert command(books, capsys, "--before", now, "--to", str(books.folder), "--dry-run").startswith(
        "Would archive 7 payments; 0 that began before then"
    )

    said = command(books, capsys, "--before", now, "--to", str(books.folder), "--by", "ann")

    (path,) = books.files()
    assert said.startswith(f"Archived 7 payments in {path}; 0 that began before then are not at rest")
    assert command(books, capsys, "--before", now, "--to", str(books.folder)) == "There is nothing to archive.\n"
    assert "7 payments, 23 events" in command(books, capsys, "--verify", str(path))


def test_a_payment_is_found_again_in_its_file(books: Books, capsys):
    books.archive()
    payment, (path,) = books.payments[0], books.files()

    assert path.name in command(books, capsys, "--find", str(payment))
    printed = command(books, capsys, "--find", str(payment), "--file", str(path))

    unit = json.loads(printed[printed.index("{") :])
    assert (unit["payment"]["id"], unit["refunds"][0]["amount"]) == (str(payment), 400)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--before", "2020-01-01"], "--to FOLDER"),
        (["--find", "018f0000-0000-7000-8000-000000000000"], "No archive has payment"),
        (["--find", "7"], "is not the id of a payment"),
        (["--verify", "/nowhere/x.jsonl.gz"], "cannot be read"),
    ],
)
def test_the_command_says_why_it_does_nothing(books: Books, arguments, said):
    with books.used(), pytest.raises(CommandError, match=said):
        call_command("archive_payments", *arguments)


class Closed(StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_closed_output_is_no_fault_of_the_archive(books: Books, tmp_path):
    """manage.py ends such a command as others (141); it ended with 1, as if nothing had been archived."""
    with books.used(), pytest.raises(BrokenPipeError):
        call_command("archive_payments", "--before", "2020-01-01", "--to", str(tmp_path), stdout=Closed())


def test_a_file_of_another_database_is_none_of_ours(books: Books):
    books.archive()
    with pytest.raises(CommandError, match="not the file of an archive of this database"):
        call_command("archive_payments", "--verify", str(books.files()[0]))


def test_the_admin_names_the_file(books: Books):
    books.archive()
    name, payment = books.files()[0].name, books.payments[0]
    with books.used():
        browser = sign_in("view_transaction", "view_archive")

        assert name in browser.get(f"/admin/payments/transaction/{payment}/change/").text
        assert name in browser.get("/admin/payments/archive/", {"q": str(payment)}).text
        assert name not in browser.get("/admin/payments/archive/", {"q": str(books.payments[0])[:-4] + "0000"}).text
        key = Archive.objects.get().pk
        assert Archive.objects.get().sha256 in browser.get(f"/admin/payments/archive/{key}/change/").text


def listed(books: Books, **query: str) -> list[UUID]:
    """Follow the pages of the API's list to the end."""
    merchant, address = Transaction.objects.first().merchant_id, "/v1/transactions"
    found: list[UUID] = []
    request = RequestFactory().get(address, query)
    while True:
        page, following = transaction_page(request, merchant)
        found += [payment.pk for payment in page]
        if following is None:
            return found
        request = RequestFactory().get(following)


@pytest.mark.parametrize("limit", ["1", "2", "50"])
@pytest.mark.parametrize(
    "query", [{"status": "succeeded"}, {"status_in": "declined,succeeded"}, {"status": "declined"}]
)
def test_lists_by_status_hold_archived_payments_like_all_others(books: Books, query, limit):
    with books.used():
        merchant = Transaction.objects.first().merchant
        before = listed(books, **query, limit=limit)
        books.archive()
        later = [make_payment(merchant, status=status).pk for status in ("succeeded", "declined")]
        wanted = [pk for pk in reversed(later) if Transaction.objects.get(pk=pk).status in str(query)]

        assert listed(books, **query, limit=limit) == [*wanted, *before]
        assert listed(books, **query, created_from="2100-01-01T00:00:00Z") == []


def listed_by_the_admin(query: str) -> list[UUID]:
    """Follow the pages of the admin's list to the end."""
    browser, found = sign_in("view_transaction"), []
    while True:
        changes = browser.get(f"/admin/payments/transaction/{query}").context["cl"]
        found += [payment.pk for payment in changes.result_list]
        if changes.older is None:
            return found
        query = changes.older_link


def test_the_admin_lists_archived_payments_by_status(books: Books):
    with books.used():
        books.archive()
        make_payment(Transaction.objects.first().merchant)

        found = listed_by_the_admin("?status=succeeded")

        assert len(found) == len(set(found)) == 7


def test_the_admin_does_not_skip_what_a_window_did_not_search(books: Books, monkeypatch):
    monkeypatch.setattr(KeysetChangeList, "WINDOW", 2)
    with books.used():
        books.archive()
        merchant = Transaction.objects.first().merchant
        wanted = make_payment(merchant)
        for _ in range(3):
            make_payment(merchant, currency="USD")

        found = listed_by_the_admin("?status=succeeded&currency=EUR")

        assert found[0] == wanted.pk
        assert len(found) == len(set(found)) == 7
