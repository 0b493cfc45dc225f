from observability.dashboards.application.shared import HERE
from observability.dashboards.kit import PER_SECOND, above, below, graph, mean, percentile, query, rate, row

DATABASE = row(
    "Database, measured by the application",
    [
        graph(
            "Statements",
            "Statements per second. The two statements of a payment bypass Django and are not counted.",
            query(rate("django_db_execute_total", HERE, by="instance"), "{{instance}}"),
            unit=PER_SECOND,
        ),
        graph(
            "Duration of statements",
            "Mean and 95th percentile.",
            query(mean("django_db_query_duration_seconds", HERE), "mean"),
            query(percentile(0.95, "django_db_query_duration_seconds", HERE), "95 %"),
            unit="s",
        ),
        graph(
            "New connections",
            "New connections per second. A warm pool opens few.",
            query(rate("django_db_new_connections_total", HERE, by="instance"), "{{instance}}"),
            unit=PER_SECOND,
        ),
        graph(
            "Errors by kind",
            "Statements per second that the database refused, or that could not reach it.",
            query(rate("django_db_errors_total", HERE, by="type"), "{{type}}"),
            unit=PER_SECOND,
            thresholds=above(0.01, 1),
            empty="None",
        ),
    ],
    [
        graph(
            "Database up",
            "1: PostgreSQL answers its exporter. 0: it does not.",
            query("min(pg_up)", "up"),
            thresholds=below(1, 0.5),
        ),
        graph(
            "Connections to the database",
            "Share of max_connections in use. Above 80 % an alert fires.",
            query("sum(pg_stat_activity_count) / max(pg_settings_max_connections)", "in use"),
            unit="percentunit",
            thresholds=above(0.6, 0.8),
        ),
    ],
)
