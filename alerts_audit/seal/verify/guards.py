"""Verify the protection of the evidence: the triggers, and the rights of the application's role.

A missing protection does not prove a change, and a change may have restored it. But until it is back, rows can be
changed.
"""

from collections.abc import Iterator
from typing import Any

from django.apps import apps

from alerts_audit.models import Checkpoint, Leaf, Verification
from alerts_audit.seal.canonical import KINDS
from alerts_audit.seal.verify.report import Report
from fintech.database.append_only import REFUSE_CHANGE
from fintech.database.grants import privileges
from fintech.database.sql import fetch_all, fetch_one

TABLES = [*(kind.table for kind in KINDS.values()), *(one._meta.db_table for one in (Leaf, Checkpoint, Verification))]
PENDING = [KINDS[name].table for name in ("delivery", "observation")]

WRITES = ("INSERT", "UPDATE", "DELETE", "TRUNCATE")

# Bits of tgtype: before (2), DELETE (8), UPDATE (16), TRUNCATE (32), for each statement; after (0), INSERT (4), for
# each row (1). O and A: it fires in an ordinary session.
UNGUARDED = """
SELECT wanted.name, wanted.trigger FROM unnest(%(tables)s::text[], %(triggers)s::text[], %(types)s::int[])
    AS wanted(name, trigger, type)
WHERE NOT EXISTS (
    SELECT FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid
    WHERE tgrelid = to_regclass(wanted.name) AND tgname = wanted.trigger AND tgtype = wanted.type
        AND tgenabled IN ('O', 'A') AND tgqual IS NULL AND tgattr = ''
        AND (wanted.trigger <> 'append_only' OR prosrc = %(refuses)s)
)
"""
# A grant on a column is no privilege on the table.
ALLOWED = """
SELECT name, privilege FROM unnest(%(tables)s::text[], %(privileges)s::text[]) AS refused(name, privilege)
WHERE has_table_privilege(name, privilege)
    OR privilege IN ('INSERT', 'UPDATE') AND has_any_column_privilege(name, privilege)
"""
IS_OWNER = "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass(%s)"


def refused_privileges() -> Iterator[tuple[str, str]]:
    """Return each table of evidence with each right to write that the application's role has not been granted."""
    for model in apps.get_models():
        if model._meta.db_table in TABLES:
            config = apps.get_app_config(model._meta.app_label)
            granted = privileges(model._meta.model_name or "", config).split(", ")
            yield from ((model._meta.db_table, word) for word in WRITES if word not in granted)


def check_guards(report: Report) -> None:
    triggers = [(table, "append_only", 2 + 8 + 16 + 32) for table in TABLES]
    triggers += [(table, "remember_pending", 1 + 4) for table in PENDING]
    names, words, types = (list(column) for column in zip(*triggers, strict=True))
    values: dict[str, Any] = {
        "tables": names,
        "triggers": words,
        "types": types,
        "refuses": REFUSE_CHANGE.split("$$")[1],
    }
    for table, trigger in fetch_all(UNGUARDED, values):
        report.find("guard", table, f"its trigger {trigger} is missing, changed or disabled")
    if fetch_one("SHOW session_replication_role") != ("origin",):
        report.find("guard", "the database", "session_replication_role is set, which disables all triggers")
    if fetch_one(IS_OWNER, [TABLES[0]]) == (True,):
        report.remarks.append("The platform runs as the owner of its tables: only the triggers protect the evidence.")
        return
    tables, words = (list(column) for column in zip(*refused_privileges(), strict=True))
    for table, privilege in fetch_all(ALLOWED, {"tables": tables, "privileges": words}):
        report.find("guard", table, f"the application's role may {privilege} it")
