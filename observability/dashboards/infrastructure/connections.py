from observability.dashboards.infrastructure.shared import OUR_DATABASES
from observability.dashboards.kit import above, below, graph, query, ratio, row

CONNECTIONS = row(
    "PostgreSQL connections and waits",
    [
        graph(
            "Connections in use",
            "Share of max_connections. At the limit PostgreSQL refuses new connections.",
            query("sum(pg_stat_database_numbackends) / max(pg_settings_max_connections)", "in use"),
            unit="percentunit",
            thresholds=above(0.7, 0.9),
        ),
        graph(
            "Sessions by state",
            "A session that is idle in transaction holds locks and does nothing.",
            query(f"sum by (state) (pg_stat_activity_count{{{OUR_DATABASES}}})", "{{state}}"),
            stacked=True,
        ),
        graph(
            "Cache hit ratio",
            "Share of reads that needed no disk access.",
            query(
                ratio(
                    f"sum(rate(pg_stat_database_blks_hit{{{OUR_DATABASES}}}[5m]))",
                    f"(sum(rate(pg_stat_database_blks_hit{{{OUR_DATABASES}}}[5m]))"
                    f" + sum(rate(pg_stat_database_blks_read{{{OUR_DATABASES}}}[5m])))",
                ),
                "cache hits",
            ),
            unit="percentunit",
            thresholds=below(0.95, 0.8),
        ),
        graph(
            "Deadlocks and longest transaction",
            "Deadlocks per minute, and the age of the oldest open transaction in seconds.",
            query(f"sum(rate(pg_stat_database_deadlocks{{{OUR_DATABASES}}}[5m])) * 60", "deadlocks per minute"),
            query(f"max(pg_stat_activity_max_tx_duration{{{OUR_DATABASES}}})", "oldest transaction, s"),
        ),
    ],
)
