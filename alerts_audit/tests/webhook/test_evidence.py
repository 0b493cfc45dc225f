"""Received deliveries stay unchanged, for every role."""

import hashlib

import pytest
from django.db import IntegrityError, ProgrammingError, connections
from django.db.migrations.state import ProjectState

from alerts_audit.models import Delivery
from alerts_audit.webhook.services import record_delivery
from fintech.database.append_only import append_only

CHANGES = [
    "UPDATE alerts_audit_delivery SET source = 'forged'",
    "UPDATE alerts_audit_delivery SET source = source WHERE false",
    "DELETE FROM alerts_audit_delivery",
    "TRUNCATE alerts_audit_delivery",
    "TRUNCATE alerts_audit_delivery CASCADE",
]


@pytest.fixture
def delivery() -> Delivery:
    return record_delivery(source="alertmanager", body=b"{}", content_type=None, content_encoding=None, request_id=None)


def execute(role: str, statement: str) -> None:
    with connections[role].cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize("statement", CHANGES)
def test_the_owner_is_refused_by_the_trigger(delivery, statement):
    with pytest.raises(IntegrityError, match="append-only"):
        execute("owner", statement)

    assert bytes(Delivery.objects.get(pk=delivery.pk).body) == b"{}"


@pytest.mark.parametrize("statement", CHANGES)
def test_the_application_has_no_right_to_ask(delivery, statement):
    with pytest.raises(ProgrammingError, match="permission denied"):
        execute("default", statement)


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE alerts_audit_delivery DISABLE TRIGGER ALL",
        "DROP TRIGGER append_only ON alerts_audit_delivery",
        "DROP TABLE alerts_audit_delivery",
        "SET session_replication_role = replica",
    ],
)
def test_the_application_cannot_remove_the_protection(statement):
    with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
        execute("default", statement)


@pytest.mark.parametrize("digest", [b"", b"short", hashlib.sha512().digest()])
def test_a_hash_of_another_length_is_refused(digest):
    with pytest.raises(IntegrityError, match="delivery_sha256_length"):
        Delivery.objects.create(source="test", body=b"", sha256=digest, size=0)


def test_a_size_below_the_body_is_refused():
    with pytest.raises(IntegrityError, match="delivery_size"):
        Delivery.objects.create(source="test", body=b"four", sha256=hashlib.sha256().digest(), size=3)


@pytest.mark.parametrize("name", ["", "Delivery", "a; DROP TABLE b", 'x"y', "a" * 64])
def test_only_a_plain_table_name_can_be_made_append_only(name):
    with pytest.raises(ValueError, match="no plain table name"):
        append_only(name)


def test_append_only_can_be_undone_and_done_again():
    operation = append_only("append_only_example")
    state = ProjectState()
    owner = connections["owner"]
    execute("owner", "CREATE TABLE append_only_example (id int)")
    try:
        for migrate in (operation.database_forwards, operation.database_backwards) * 2:
            with owner.schema_editor() as editor:
                migrate("alerts_audit", editor, state, state)
        execute("owner", "TRUNCATE append_only_example")
    finally:
        execute("owner", "DROP TABLE append_only_example")

    with pytest.raises(IntegrityError, match="append-only"):
        execute("owner", "TRUNCATE alerts_audit_delivery")
