"""Add the settled part of the journal to totals, so that reading them stays cheap."""

from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.db.transaction import atomic

from payments.table_follower import TableFollower

# The events that one statement adds, well within statement_timeout.
BATCH_SIZE = 50_000

ADVANCE = """
WITH mark AS (
    SELECT id, least(%(upto)s, event_id + %(most)s) AS upto FROM payments_kpiwatermark
    WHERE event_id < %(upto)s AND pg_postmaster_start_time()::text = %(server)s
), added AS (
    INSERT INTO payments_kpirollup AS total (writer_id, kind, currency, count, amount)
    SELECT writer_id, kind, currency, count(*), sum(amount) FROM payments_kpi_tail
    WHERE id <= (SELECT upto FROM mark) GROUP BY 1, 2, 3
    ON CONFLICT (writer_id, kind, currency) DO UPDATE
        SET count = total.count + excluded.count, amount = total.amount + excluded.amount
)
UPDATE payments_kpiwatermark SET event_id = mark.upto FROM mark WHERE payments_kpiwatermark.id = mark.id
"""


class Rollup:
    """Adds the settled part of the journal to `KpiRollup`: the cost of totals does not grow with the journal."""

    def __init__(self) -> None:
        self._follower = TableFollower("payments_event")

    def advance(self) -> None:
        with connection.cursor() as cursor:
            self._follower.advance(cursor)
            while self._add_batch(cursor):
                pass

    @atomic
    def _add_batch(self, cursor: CursorWrapper) -> bool:
        cursor.execute("SELECT 1 FROM payments_kpiwatermark FOR UPDATE")  # then ADVANCE sees what came before it
        follower = self._follower
        cursor.execute(ADVANCE, {"upto": follower.settled, "server": follower.server, "most": BATCH_SIZE})
        return cursor.rowcount > 0
