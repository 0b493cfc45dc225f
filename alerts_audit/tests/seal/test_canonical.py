"""The bytes that are hashed never change, and leave out nothing of a row."""

import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest
from django.apps import apps
from django.db import connection

from alerts_audit.models import Leaf
from alerts_audit.seal.canonical import KINDS, plain
from alerts_audit.seal.standalone import encode
from fintech.evidence import SEALED

AT = datetime(2026, 11, 22, 16, 57, 14, 5, tzinfo=UTC)


def test_every_kind_of_leaf_has_a_form():
    assert set(KINDS) == {*Leaf.Kind.values, *(one.name for one in SEALED)}
    assert "payments_archive" in KINDS


@pytest.mark.parametrize("name", KINDS)
def test_every_column_is_in_the_form(name):
    (model,) = [model for model in apps.get_models() if model._meta.db_table == KINDS[name].table]
    columns = {field.column for field in model._meta.concrete_fields}

    assert set(KINDS[name].columns) == columns - {KINDS[name].body}
    assert KINDS[name].key == model._meta.pk.column


@pytest.mark.parametrize("name", KINDS)
def test_the_database_reads_the_form_s_columns(name):
    kind = KINDS[name]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {kind.select}, {kind.at} FROM {kind.table} LIMIT 0")

        assert [column.name for column in cursor.description] == [*kind.columns, kind.at]


def test_the_bytes_of_a_delivery_are_these():
    values = (7, AT, "main", "application/json", None, b"\x01" * 32, 2, None, "r-1", None)

    assert encode(KINDS["delivery"].document(values)) == (
        b'{"leaf":"delivery","row":{"content_encoding":null,"content_type":"application/json","id":7,'
        b'"kept_sha256":null,"received_at":"2026-11-22T16:57:14.000005Z","request_id":"r-1",'
        b'"sha256":"0101010101010101010101010101010101010101010101010101010101010101","size":2,"source":"main",'
        b'"trace_id":null},"version":1}'
    )


def test_text_beyond_ascii_is_utf_8():
    assert encode({"text": 'schön \u2028\x7f"\\'}) == '{"text":"schön \u2028\x7f\\"\\\\"}'.encode()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (AT, "2026-11-22T16:57:14.000005Z"),
        (AT.astimezone(timezone(timedelta(hours=2))), "2026-11-22T16:57:14.000005Z"),
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00.000000Z"),
        (memoryview(b"\x00\xff"), "00ff"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (None, None),
        (True, True),
        ("x", "x"),
    ],
)
def test_a_value_is_written_plainly(value, expected):
    assert plain(value) == expected
