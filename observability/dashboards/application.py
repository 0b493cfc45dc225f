"""The processes of the application: gunicorn, Django, its database connections, the worker's jobs."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from observability.dashboards.kit import (
    PER_MINUTE,
    PER_SECOND,
    above,
    below,
    dashboard,
    graph,
    heat,
    instance,
    listing,
    mean,
    percentile,
    query,
    rate,
    row,
    stat,
)

HERE = 'instance=~"$instance"'
RESPONSES = "django_http_responses_total_by_status_view_method_total"
LATENCY = "django_http_requests_latency_seconds_by_view_method"


def application() -> Dashboard:
    return dashboard(
        "application",
        "Application",
        "Web processes (gunicorn), Django, its database use, and the worker's jobs.",
        variables=[instance('label_values(up{job=~"web|worker"}, instance)')],
        rows=[AT_A_GLANCE, WEB, DJANGO, DATABASE, WORKER],
    )


AT_A_GLANCE = row(
    "At a glance",
    [
        stat(
            "Scraped processes",
            "Processes of the application that answer Prometheus.",
            query(f'sum(up{{job=~"web|worker", {HERE}}})', "up"),
            unit="short",
            thresholds=below(2, 1),
        ),
        stat(
            "Capacity in use by payments",
            "Share of the web's capacity that payments use. Above 80 % an alert fires, because requests may queue.",
            query(
                f'sum(transactions_in_progress{{job="web", {HERE}}}) / sum(web_capacity{{job="web", {HERE}}})',
                "in use",
            ),
            unit="percentunit",
            thresholds=above(0.5, 0.8),
        ),
        stat(
            "Threads busy",
            "Requests in progress, averaged over the past minute: rate times duration.",
            query(rate(f"{LATENCY}_sum", HERE, window="1m"), "busy"),
            unit="short",
            thresholds=above(48, 90),
            decimals=1,
        ),
        stat(
            "Database errors per second",
            "Failed statements and failed connection attempts.",
            query(f"sum(rate(django_db_errors_total{{{HERE}}}[5m])) or vector(0)", "errors"),
            unit=PER_SECOND,
            thresholds=above(0.01, 1),
        ),
        stat(
            "Failed jobs per minute",
            "Failed runs of the worker's jobs. Each job runs again at its next interval.",
            query(f"sum(rate(worker_job_errors_total{{{HERE}}}[5m])) * 60", "failed"),
            unit=PER_MINUTE,
            thresholds=above(0.1, 5),
        ),
        stat(
            "Scrape duration",
            "Scrape duration of the slowest process. Prometheus times out after four seconds.",
            query(f'max(scrape_duration_seconds{{job=~"web|worker", {HERE}}})', "slowest"),
            unit="s",
            thresholds=above(1, 3),
        ),
    ],
)


WEB = row(
    "Web (gunicorn)",
    [
        graph(
            "Probes of web and gateway",
            "Health checks from outside. 1: the service answers. 0: it does not.",
            query('min by (service) (probe_success{tier="service"})', "{{service}}"),
            unit="short",
            thresholds=below(1, 0.5),
        ),
        graph(
            "Responses by status",
            "Responses per second.",
            query(f"sum by (status) (rate({RESPONSES}{{{HERE}}}[$__rate_interval]))", "{{status}}"),
            unit=PER_SECOND,
            stacked=True,
        ),
        graph(
            "Busy threads by view",
            "Rate times duration: the number of threads that each view uses.",
            query(rate(f"{LATENCY}_sum", HERE, by="view, method"), "{{method}} {{view}}"),
            unit="short",
            stacked=True,
        ),
        graph(
            "Payments in progress",
            "Payments in progress over all web processes, and their capacity.",
            query(f"sum(transactions_in_progress{{{HERE}}})", "in progress"),
            query(f"sum(web_capacity{{{HERE}}})", "capacity"),
            unit="short",
        ),
    ],
)


DJANGO = row(
    "Django",
    [
        graph(
            "Duration by view",
            "Mean response time.",
            query(
                f"sum by (view, method) (rate({LATENCY}_sum{{{HERE}}}[5m]))"
                f" / (sum by (view, method) (rate({LATENCY}_count{{{HERE}}}[5m])) > 0)",
                "{{method}} {{view}}",
            ),
            unit="s",
        ),
        heat(
            "Response times",
            "Each column is a point in time, each cell a range of durations. A brighter cell has more responses.",
            query(rate(f"{LATENCY}_bucket", HERE, by="le"), "{{le}}"),
            unit="s",
        ),
        graph(
            "Server errors by view",
            "Responses with 5xx per second.",
            query(
                f'sum by (view, method, status) (rate({RESPONSES}{{{HERE}, status=~"5.."}}[$__rate_interval]))',
                "{{status}} {{method}} {{view}}",
            ),
            unit=PER_SECOND,
            thresholds=above(0.01, 1),
            empty="None",
        ),
    ],
)


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
            unit="short",
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


WORKER = row(
    "Worker",
    [
        graph(
            "Time since each job's last success",
            "In normal operation about the interval of the job.",
            query(
                f"time() - max by (exported_job) (worker_job_last_success_timestamp_seconds{{{HERE}}})",
                "{{exported_job}}",
            ),
            unit="s",
        ),
        graph(
            "CPU",
            "CPU cores used by each worker.",
            query(f'rate(process_cpu_seconds_total{{job="worker", {HERE}}}[$__rate_interval])', "{{instance}}"),
            unit="short",
            axis=0.1,
        ),
        graph(
            "Memory",
            "Resident memory of each worker.",
            query(f'process_resident_memory_bytes{{job="worker", {HERE}}}', "{{instance}}"),
            unit="bytes",
        ),
        listing(
            "Processes",
            "Uptime and open files of each process.",
            query(f'time() - process_start_time_seconds{{job="worker", {HERE}}}', "up"),
            query(f'process_open_fds{{job="worker", {HERE}}}', "open files"),
            unit="short",
            decimals=0,
            units={"up": "s"},
        ),
    ],
)
