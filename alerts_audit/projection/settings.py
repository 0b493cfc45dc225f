"""How long the trail waits before it gives an episode up. Kept with each tick, so that a rebuild needs no setting."""

from datetime import datetime
from typing import Any

from django.conf import settings

from alerts_audit.projection.tables import Connection

NOW_AND_PEERS = """
SELECT now(), coalesce((
    SELECT jsonb_object_agg(cluster, names) FROM (
        SELECT cluster, jsonb_agg(name ORDER BY name) AS names FROM alerts_audit_source WHERE is_active GROUP BY cluster
    ) AS clusters
), '{}')
"""


def patience(connection: Connection) -> tuple[datetime, dict[str, Any]]:
    """The database's time, and what a tick at that time goes by."""
    row = connection.execute(NOW_AND_PEERS, prepare=True).fetchone()
    assert row is not None
    return row[0], {
        "stale_seconds": settings.AUDIT_STALE_SECONDS,
        "unknown_seconds": settings.AUDIT_UNKNOWN_SECONDS,
        "peers": row[1],
    }
