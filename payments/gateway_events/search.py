"""The search for an operation by the gateway's key, over all rows."""

from uuid import UUID

from django.db.models import Model
from django.db.transaction import atomic

from fintech.database.sql import execute, fetch_all


def find_by_key(model: type[Model], key: UUID) -> list[UUID]:
    """Return the ids of the rows with this key, by the bloom filters of the key's index.

    The planner expects as much from them as from reading the whole table, and has to be kept from that.
    """
    with atomic():
        execute("SET LOCAL enable_seqscan = off")
        found = [row_id for (row_id,) in fetch_all(search_of(model), [key])]
        execute("SET LOCAL enable_seqscan = on")  # the caller's transaction may go on
    return found


def search_of(model: type[Model]) -> str:
    return f"SELECT id FROM {model._meta.db_table} WHERE gateway_key = %s"  # noqa: S608 - our own name
