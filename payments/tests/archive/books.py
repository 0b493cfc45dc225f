"""A small database of payments that is archived: its rows are made without a gateway, and all belong to one test."""

import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from django.db.models.functions import Now
from uuid_utils.compat import uuid7

from alerts_audit.tests.seal.trails import connected, on_database
from fintech.testing.databases import copy_database, own_database, session_server
from payments.archive.archive import Result, archive
from payments.kpis.rollup import Rollup
from payments.ledger.consistency import Finding, check_ledger
from payments.ledger.postings import legs_of
from payments.models import (
    Capture,
    Dispute,
    Event,
    IdempotencyKey,
    LedgerLeg,
    Merchant,
    Refund,
    Transaction,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    Writer,
)
from payments.tests.factories import make_payment
from payments.tests.journal import read_all
from payments.webhooks.outbox import Outbox

DROPPED = ("event", "ledgerleg", "webhookevent", "webhookdelivery", "webhookattempt")


def refund(payment: Transaction, amount: int, *, status: str = "succeeded") -> Refund:
    """A refund as the services leave it."""
    final = status != "processing"
    made = Refund.objects.create(
        id=uuid7(),
        transaction=payment,
        idempotency_key=secrets.token_hex(12),
        amount=amount,
        amount_requested=amount,
        status=status,
        gateway_key=uuid7(),
        settled_at=Now() if final else None,
    )
    Transaction.objects.filter(pk=payment.pk).update(
        amount_reserved=amount, amount_refunded=amount if status == "succeeded" else 0
    )
    IdempotencyKey.objects.create(
        merchant_id=payment.merchant_id, key=made.idempotency_key, resource_id=made.pk, kind="refund"
    )
    Event.objects.create(transaction=payment, refund_id=made.pk, kind="refund_processing", actor="api")
    if status == "succeeded":
        post(Event.objects.create(transaction=payment, refund_id=made.pk, kind="refund_succeeded", actor="api"), amount)
    return made


def capture(merchant: Merchant, amount: int) -> Transaction:
    """A payment that was authorized first, and captured in whole."""
    payment = make_payment(merchant, amount=amount, status="processing", manual_capture=True)
    made = Capture.objects.create(
        id=uuid7(),
        transaction=payment,
        idempotency_key=secrets.token_hex(12),
        amount=amount,
        final=True,
        status="succeeded",
        gateway_key=uuid7(),
        settled_at=Now(),
    )
    IdempotencyKey.objects.create(
        merchant_id=merchant.pk, key=made.idempotency_key, resource_id=made.pk, kind="capture"
    )
    Event.objects.create(transaction=payment, kind="authorized", actor="api")
    Event.objects.create(transaction=payment, capture_id=made.pk, kind="capture_processing", actor="api")
    post(Event.objects.create(transaction=payment, capture_id=made.pk, kind="capture_succeeded", actor="api"), amount)
    Transaction.objects.filter(pk=payment.pk).update(status="authorized", capture_before=Now())
    Transaction.objects.filter(pk=payment.pk).update(status="succeeded", manually_captured=amount, settled_at=Now())
    Event.objects.create(transaction=payment, kind="succeeded", actor="api")
    return payment


def dispute(payment: Transaction, amount: int, *, status: str) -> Dispute:
    made = Dispute.objects.create(
        id=uuid7(),
        merchant_id=payment.merchant_id,
        transaction=payment,
        gateway_key=uuid7(),
        amount=amount,
        fee=15,
        reason="fraudulent",
        status=status,
        sequence=2,
        settled_at=Now(),
    )
    for kind in ("dispute_opened", f"dispute_{status}"):
        post(Event.objects.create(transaction=payment, dispute_id=made.pk, kind=kind, actor="gateway"), amount, fee=15)
    return made


def post(event: Event, amount: int, *, fee: int = 0) -> None:
    LedgerLeg.objects.bulk_create(
        LedgerLeg(event=event, transaction=event.transaction, account=account, currency="EUR", amount=leg)
        for account, leg in legs_of(event.kind, amount=amount, fee=fee)
    )


@dataclass
class Books:
    """A database and the folder of its archives. `payments` are those that `fill` made, oldest first."""

    name: str
    folder: Path
    payments: list[UUID]

    @classmethod
    def make(cls, folder: Path) -> "Books":
        books = cls(own_database(), folder, [])
        with books.used():
            merchant = Merchant.objects.create(name="Archived", country="DE")
            WebhookEndpoint.objects.create(merchant=merchant, url="https://shop.example/hooks")
            made = [make_payment(merchant, amount=1000 + number) for number in range(5)]
            made.append(make_payment(merchant, status="declined", failure_code="insufficient_funds"))
            made.append(capture(merchant, 3000))
            refund(made[0], 400)
            dispute(made[3], 1003, status="won")
            dispute(made[4], 500, status="lost")
            books.payments = [payment.pk for payment in made]
        books.come_to_rest()
        return books

    def copy(self, folder: Path) -> "Books":
        name = f"books_{secrets.token_hex(4)}"
        copy_database(name, self.name)
        return Books(name, folder, self.payments)

    @contextmanager
    def used(self) -> Iterator[None]:
        """In this thread, all of Django's queries go to this database."""
        with on_database(session_server().urls(self.name), self.folder):
            yield

    def connected(self) -> AbstractContextManager[None]:
        """For a second thread: settings belong to the process, and threads would not restore them in order."""
        return connected(session_server().urls(self.name))

    def come_to_rest(self) -> None:
        """Let the worker's jobs do their work: announce, count, and deliver."""
        with self.used():
            writer = Writer.objects.create(slot="web-0", epoch=uuid7())
            self.tamper("UPDATE payments_event SET writer_id = %s WHERE kind !~ 'processing|refund|dispute'", writer.pk)
            for job in (Rollup(), Outbox()):
                read_all(job)
            waiting = WebhookDelivery.objects.filter(status="pending")
            WebhookAttempt.objects.bulk_create(
                WebhookAttempt(delivery=delivery, outcome="delivered", status_code=200, milliseconds=5)
                for delivery in waiting
            )
            waiting.update(status="delivered", delivered_at=Now())

    def tamper(self, statement: str, *values: Any) -> None:
        """As a superuser, past every trigger."""
        with psycopg.connect(session_server().url("postgres", self.name), autocommit=True) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute(statement, values or None)

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(session_server().url("postgres", self.name), autocommit=True) as connection:
            return connection.execute(statement, values or None).fetchall()

    def archive(self, **options: Any) -> Result | None:
        given = {"before": datetime.now(UTC), "directory": self.folder, "by": "ann", "progress": lambda *_: None}
        with self.used():
            return archive(**given | options)[1]

    def findings(self) -> list[Finding]:
        with self.used():
            return [finding for _, found in check_ledger() for finding in found]

    def left(self) -> dict[str, int]:
        return {table: self.query(f"SELECT count(*) FROM payments_{table}")[0][0] for table in DROPPED}

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*.jsonl.gz"))
