"""No table of evidence can be changed, by the application or by a slip of the owner; none is forgotten."""

from typing import Any

import pytest
from django.apps import apps
from django.db import IntegrityError, NotSupportedError, ProgrammingError, connections

from alerts_audit.seal.canonical import KINDS
from fintech.evidence import SEALED

CONFIG: Any = apps.get_app_config("alerts_audit")
OTHERS = [one.table for one in SEALED]
EVIDENCE = [*(f"alerts_audit_{name}" for name in CONFIG.evidence_models), *OTHERS]
CHANGES = ["UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {}", "TRUNCATE {} CASCADE"]


def attempt(role: str, change: str, table: str) -> None:
    with connections[role].cursor() as cursor:
        key = "number" if table in ("alerts_audit_input", "alerts_audit_leaf") else "id"
        cursor.execute(change.format(table, key, key))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("table", EVIDENCE)
def test_the_application_has_no_right(table, change):
    with pytest.raises(ProgrammingError, match="permission denied"):
        attempt("default", change, table)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("table", EVIDENCE)
def test_the_owner_is_refused_too(table, change):
    # The foreign key of another table refuses a TRUNCATE before the trigger is asked.
    with pytest.raises((IntegrityError, NotSupportedError), match=r"is append-only|referenced in a foreign key"):
        attempt("owner", change, table)


@pytest.mark.parametrize("table", EVIDENCE)
def test_the_application_cannot_switch_the_refusal_off(table):
    for statement in (f"ALTER TABLE {table} DISABLE TRIGGER ALL", f"DROP TRIGGER append_only ON {table}"):
        with pytest.raises(ProgrammingError, match="must be owner"):
            attempt("default", statement, table)


def test_every_kind_of_leaf_is_evidence():
    assert {kind.table for kind in KINDS.values()} <= set(EVIDENCE)
