"""How much waits for delivery, read from the rows."""

from dataclasses import dataclass, field

from fintech.database.sql import fetch_all, fetch_one

# The oldest event that should be under way and is not: an entry of the journal that is not announced, or a delivery
# that is due, at an endpoint that does not pause and that no worker serves. What waits for a slow or failing endpoint
# does not count: the merchant has to repair it.
OLDEST = """
SELECT greatest(0, extract(epoch FROM clock_timestamp() - least(
    (SELECT at FROM payments_event WHERE id > (SELECT event_id FROM payments_webhookwatermark) ORDER BY id LIMIT 1),
    (SELECT min(delivery.due_at) FROM payments_webhookdelivery AS delivery
        JOIN payments_webhookendpoint AS endpoint ON endpoint.id = delivery.endpoint_id
        WHERE delivery.status = 'pending' AND endpoint.is_enabled
            AND (endpoint.retry_at IS NULL OR endpoint.retry_at <= now())
            AND (endpoint.lease_token IS NULL OR endpoint.lease_until <= now()))
)))::float8
"""
PENDING = "SELECT count(*) FROM payments_webhookdelivery WHERE status = 'pending'"
ENDPOINTS = """
SELECT CASE WHEN NOT is_enabled THEN 'disabled' WHEN failing_since IS NULL THEN 'enabled' ELSE 'failing' END AS state,
    count(*)
FROM payments_webhookendpoint GROUP BY 1
"""
STATES = ("enabled", "failing", "disabled")


@dataclass
class Backlog:
    pending: int = 0
    oldest_seconds: float = 0.0
    endpoints: dict[str, int] = field(default_factory=dict)


def read_backlog() -> Backlog:
    (pending,), (oldest,) = fetch_one(PENDING), fetch_one(OLDEST)
    return Backlog(pending, oldest or 0.0, dict(fetch_all(ENDPOINTS)))
