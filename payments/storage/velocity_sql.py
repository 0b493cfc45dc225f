"""The part of T1 that counts payments in sliding windows, and decides about those that exceed a velocity rule.

A window is cut into `SLOTS` parts. A counter has the numbers of the newest slot and of `SLOTS` slots before it, so a
payment counts for at least its window and at most one slot longer. Every new payment counts, whatever becomes of it.

The upsert locks the counter's row, so payments of all processes are counted one after the other, and each is decided by
exact numbers. Counters are locked in order: groups that share them wait for each other instead of deadlocking.
"""
# ruff: noqa: S608 - the SQL is made of our own constants

SLOTS = 24
KEPT = SLOTS + 1


def slot_sql(window_seconds: str) -> str:
    """Return the number of the present slot."""
    return f"floor(extract(epoch FROM now()) * {SLOTS} / {window_seconds})::bigint"


def moved_sql(steps: str) -> str:
    """Return a counter's slots `steps` later: new ones are empty, and those that leave the window are dropped."""
    return f"(array_fill(0::bigint, ARRAY[least(greatest({steps}, 0), {KEPT})::int]) || counter.slots)[1:{KEPT}]"


def total_sql(slots: str) -> str:
    return f"(SELECT sum(number) FROM unnest({slots}) AS number)::bigint"


def attempts_sql(rows: str) -> str:
    """Return what the payments of `rows` (id, velocity) add to each counter."""
    return f"""
    SELECT id, (item ->> 'rule')::bigint AS rule_id, item ->> 'value' AS value, (item ->> 'amount')::bigint AS amount,
        (item ->> 'maximum')::bigint AS maximum, item ->> 'outcome' AS outcome, item ->> 'reason' AS reason,
        {slot_sql("(item ->> 'window_seconds')::bigint")} AS slot
    FROM (SELECT rows.id, jsonb_array_elements(rows.velocity) AS item FROM {rows} AS rows) AS items"""


# Of each `attempt`, those that exceed their rule, in the order of their ids: the totals of `counted` include them all.
# A payment's outcome is the most severe one, NULL for none.
JUDGE = """exceeded AS MATERIALIZED (
    SELECT * FROM (
        SELECT attempt.*, counted.total - sum(amount) OVER (PARTITION BY rule_id, value)
            + sum(amount) OVER (PARTITION BY rule_id, value ORDER BY id) AS observed
        FROM attempt JOIN counted USING (rule_id, value)
    ) AS seen WHERE observed > maximum
), verdict AS MATERIALIZED (
    SELECT id, jsonb_agg(DISTINCT reason) AS reasons,
        CASE WHEN bool_or(outcome = 'block') THEN 'block' WHEN bool_or(outcome = 'review') THEN 'review' END AS outcome,
        jsonb_agg(jsonb_build_object('rule', rule_id, 'observed', observed, 'maximum', maximum)) AS evidence
    FROM exceeded GROUP BY id
)"""

# After `watched` (the new payments) and `watched_won` (those that are stored).
DECIDE = f"""attempt AS MATERIALIZED (
    {attempts_sql("(SELECT id, velocity FROM watched JOIN watched_won ON watched_won.resource_id = watched.id)")}
), counted AS (
    INSERT INTO payments_velocitycounter AS counter (rule_id, value, newest, slots)
    SELECT rule_id, value, max(slot), sum(amount)::bigint || array_fill(0::bigint, ARRAY[{SLOTS}])
    FROM attempt GROUP BY rule_id, value ORDER BY rule_id, value
    ON CONFLICT (rule_id, value) DO UPDATE SET newest = greatest(counter.newest, excluded.newest), slots = (
        SELECT (moved[1] + excluded.slots[1]) || moved[2:]
        FROM (SELECT {moved_sql("excluded.newest - counter.newest")} AS moved) AS shifted)
    RETURNING rule_id, value, {total_sql("counter.slots")} AS total
), {JUDGE}"""

# For a payment that is not made: the totals as if it were.
TRY = f"""
WITH attempt AS MATERIALIZED (
    {attempts_sql("(SELECT gen_random_uuid() AS id, %(velocity)s::jsonb AS velocity)")}
), counted AS MATERIALIZED (
    SELECT attempt.rule_id, attempt.value, attempt.amount
        + coalesce({total_sql(moved_sql("attempt.slot - counter.newest"))}, 0) AS total
    FROM attempt LEFT JOIN payments_velocitycounter AS counter USING (rule_id, value)
), {JUDGE}
SELECT reasons, outcome FROM verdict
"""

# Counters whose window is over, and those of rules that were removed; a payment that adds to one now keeps it.
FORGET = f"""
DELETE FROM payments_velocitycounter WHERE (rule_id, value) IN (
    SELECT counter.rule_id, counter.value
    FROM payments_velocitycounter AS counter LEFT JOIN payments_velocityrule AS rule ON rule.id = counter.rule_id
    WHERE rule.id IS NULL OR counter.newest < {slot_sql("rule.window_seconds")} - {SLOTS}
    LIMIT %(most)s FOR UPDATE OF counter SKIP LOCKED)
"""
