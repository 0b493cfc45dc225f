"""Add the settled part of the journal to totals, so that reading them stays cheap.

Each run of a process is a writer with totals of its own, so restarts and new hosts would make the rollup grow for ever.
So the rows of writers that have ended are added up, as far as no reader of totals sees a difference: within a slot, and
over all retired hosts.
"""

from uuid import UUID

from django.db.transaction import atomic

from fintech.database.sql import execute
from payments.table_follower import JournalReader

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

# The epoch of the one writer that has the sums of all retired hosts (migrations/0030_retired_totals.py).
GONE = UUID(int=0)
ADD = """
ON CONFLICT (writer_id, kind, currency) DO UPDATE
    SET count = total.count + excluded.count, amount = total.amount + excluded.amount
"""
# The lock excludes a host that registers itself at this moment: its rows stay, or it takes them back afterwards.
SET_RETIRED_APART = f"""
WITH host AS (
    SELECT epoch FROM fintech_metricsepoch
    WHERE retired_at IS NOT NULL AND epoch <> %(gone)s AND epoch IN (
        SELECT epoch FROM payments_writer WHERE id IN (SELECT writer_id FROM payments_kpirollup))
    FOR UPDATE
), taken AS (
    DELETE FROM payments_kpirollup AS total USING payments_writer AS writer, host
    WHERE writer.id = total.writer_id AND writer.epoch = host.epoch
    RETURNING writer_id, kind, currency, count, amount
), kept AS (
    INSERT INTO payments_kpiretired AS total (writer_id, kind, currency, count, amount)
    SELECT writer_id, kind, currency, count, amount FROM taken {ADD}
)
INSERT INTO payments_kpirollup AS total (writer_id, kind, currency, count, amount)
SELECT (SELECT min(id) FROM payments_writer WHERE epoch = %(gone)s), kind, currency, sum(count), sum(amount)
FROM taken GROUP BY kind, currency ORDER BY kind, currency {ADD}
"""  # noqa: S608 - our own words
# The counters of a slot are the sum over its writers. The newest one may still add rows.
MERGE_RUNS = f"""
WITH ended AS (
    SELECT id, first FROM (
        SELECT id, min(id) OVER same_slot AS first, max(id) OVER same_slot AS newest FROM payments_writer
        WHERE id IN (SELECT writer_id FROM payments_kpirollup) WINDOW same_slot AS (PARTITION BY epoch, slot)
    ) AS writer WHERE id NOT IN (first, newest)
), taken AS (
    DELETE FROM payments_kpirollup AS total USING ended WHERE total.writer_id = ended.id
    RETURNING first, kind, currency, count, amount
)
INSERT INTO payments_kpirollup AS total (writer_id, kind, currency, count, amount)
SELECT first, kind, currency, sum(count), sum(amount) FROM taken GROUP BY 1, 2, 3 {ADD}
"""  # noqa: S608 - our own words


class Rollup(JournalReader):
    """Adds the settled part of the journal to `KpiRollup`: the cost of totals does not grow with the journal."""

    watermark, batch_size, statement = "payments_kpiwatermark", 50_000, ADVANCE

    def advance(self) -> None:
        super().advance()
        merge_ended_writers()


@atomic
def merge_ended_writers() -> None:
    """Add up the rows of writers that have ended. The totals by slot, by epoch and of retired hosts do not change."""
    execute("SELECT 1 FROM payments_kpiwatermark FOR UPDATE")  # another leader may be adding rows
    execute(SET_RETIRED_APART, {"gone": GONE})
    execute(MERGE_RUNS)
