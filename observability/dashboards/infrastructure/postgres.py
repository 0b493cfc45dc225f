from observability.dashboards.infrastructure.shared import OUR_DATABASES
from observability.dashboards.kit import PER_SECOND, below, graph, query, row, stat, words

POSTGRES = row(
    "PostgreSQL",
    [
        stat(
            "Database",
            "Up: the exporter reaches PostgreSQL.",
            query("min(pg_up)", "up"),
            thresholds=below(1, 0.5),
            mappings=words(_1=("up", "green"), _0=("down", "red")),
        ),
        graph(
            "Transactions",
            "Committed and rolled back transactions per second.",
            query(f"sum(rate(pg_stat_database_xact_commit{{{OUR_DATABASES}}}[$__rate_interval]))", "committed"),
            query(f"sum(rate(pg_stat_database_xact_rollback{{{OUR_DATABASES}}}[$__rate_interval]))", "rolled back"),
            unit=PER_SECOND,
        ),
        graph(
            "Rows written",
            "Rows per second.",
            query(f"sum(rate(pg_stat_database_tup_inserted{{{OUR_DATABASES}}}[$__rate_interval]))", "inserted"),
            query(f"sum(rate(pg_stat_database_tup_updated{{{OUR_DATABASES}}}[$__rate_interval]))", "updated"),
            query(f"sum(rate(pg_stat_database_tup_deleted{{{OUR_DATABASES}}}[$__rate_interval]))", "deleted"),
            unit=PER_SECOND,
        ),
        graph(
            "Size",
            "Size of the database on disk.",
            query(f"sum by (datname) (pg_database_size_bytes{{{OUR_DATABASES}}})", "{{datname}}"),
            unit="bytes",
        ),
    ],
)
