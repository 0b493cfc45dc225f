"""Append-only tables.

The application's database role has only INSERT and SELECT on them. The trigger here also prevents mistakes of the
owner, who is the only role that could remove it.
"""

import re

from django.db.migrations import RunSQL

# A statement trigger sees TRUNCATE too, and refuses even a change that would affect no row.
REFUSE_CHANGE = """
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation';
END
$$
"""

# The tables share the function, so the last one to be removed removes it.
DROP_UNUSED = """
DO $$
BEGIN
    DROP FUNCTION IF EXISTS refuse_change();
EXCEPTION WHEN dependent_objects_still_exist THEN
    NULL;
END
$$
"""


def append_only(table: str) -> RunSQL:
    """Return a reversible migration operation after which `table` refuses UPDATE, DELETE and TRUNCATE.

    The refusal has SQLSTATE 23001, which Django raises as IntegrityError.
    """
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", table):
        raise ValueError(f"{table!r} is no plain table name")
    return RunSQL(
        sql=[
            REFUSE_CHANGE,
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()",
        ],
        reverse_sql=[f"DROP TRIGGER append_only ON {table}", DROP_UNUSED],
    )
