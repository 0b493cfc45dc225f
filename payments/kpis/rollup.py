"""Add the settled part of the journal to totals, so that reading them stays cheap."""

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


class Rollup(JournalReader):
    """Adds the settled part of the journal to `KpiRollup`: the cost of totals does not grow with the journal."""

    watermark, batch_size, statement = "payments_kpiwatermark", 50_000, ADVANCE
