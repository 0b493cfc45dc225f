"""The processes that serve payments: gunicorn's workers, Django, its connections to the database, the worker's jobs."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from observability.dashboards.kit import (
    PER_MINUTE,
    PER_SECOND,
    Section,
    above,
    below,
    dashboard,
    graph,
    heat,
    instance,
    listing,
    query,
    ratio,
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
        "Web processes (gunicorn), Django, its use of the database, and the worker's background jobs.",
        variables=[instance('label_values(up{job=~"web|worker"}, instance)')],
        rows=[at_a_glance(), web(), django(), database(), worker()],
    )


def at_a_glance() -> Section:
    return row(
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
                "Threads in use by payments",
                "Share of the web's threads that payments hold. Above 80 % an alert fires: the next ones may queue.",
                query(
                    f'sum(transactions_in_progress{{job="web", {HERE}}}) / sum(web_threads{{job="web", {HERE}}})',
                    "in use",
                ),
                unit="percentunit",
                thresholds=above(0.5, 0.8),
            ),
            stat(
                "Threads busy",
                "Requests that are being answered, in the mean of the past minute: their rate times their duration.",
                query(f"sum(rate({LATENCY}_sum{{{HERE}}}[1m]))", "busy"),
                unit="short",
                thresholds=above(48, 90),
                decimals=1,
            ),
            stat(
                "Database errors per second",
                "Statements that failed, and connections that could not be made.",
                query(f"sum(rate(django_db_errors_total{{{HERE}}}[5m])) or vector(0)", "errors"),
                unit=PER_SECOND,
                thresholds=above(0.01, 1),
            ),
            stat(
                "Failed jobs per minute",
                "Turns of the worker's background jobs that failed; each is tried again at its next turn.",
                query(f"sum(rate(worker_job_errors_total{{{HERE}}}[5m])) * 60", "failed"),
                unit=PER_MINUTE,
                thresholds=above(0.1, 5),
            ),
            stat(
                "Time of a scrape",
                "How long the slowest process takes to answer Prometheus, which gives up after four seconds.",
                query(f'max(scrape_duration_seconds{{job=~"web|worker", {HERE}}})', "slowest"),
                unit="s",
                thresholds=above(1, 3),
            ),
        ],
    )


def web() -> Section:
    return row(
        "Web (gunicorn)",
        [
            graph(
                "Asked from outside",
                "Whether the web and the gateway answer a health check as a customer would ask: 1 is yes.",
                query('min by (service) (probe_success{tier="service"})', "{{service}}"),
                unit="short",
                thresholds=below(1, 0.5),
            ),
            graph(
                "Answers by status",
                "Answers a second.",
                query(f"sum by (status) (rate({RESPONSES}{{{HERE}}}[$__rate_interval]))", "{{status}}"),
                unit=PER_SECOND,
                stacked=True,
            ),
            graph(
                "Busy threads by view",
                "Rate times duration: how many threads each view keeps busy.",
                query(
                    f"sum by (view, method) (rate({LATENCY}_sum{{{HERE}}}[$__rate_interval]))", "{{method}} {{view}}"
                ),
                unit="short",
                stacked=True,
            ),
            graph(
                "Payments in progress",
                "Over all web processes, and how many they can work on at once. Zero when there is nothing to do.",
                query(f"sum(transactions_in_progress{{{HERE}}})", "in progress"),
                query(f"sum(web_threads{{{HERE}}})", "at once"),
                unit="short",
            ),
        ],
    )


def django() -> Section:
    return row(
        "Django",
        [
            graph(
                "Duration by view",
                "The mean of an answer.",
                query(
                    f"sum by (view, method) (rate({LATENCY}_sum{{{HERE}}}[5m]))"
                    f" / (sum by (view, method) (rate({LATENCY}_count{{{HERE}}}[5m])) > 0)",
                    "{{method}} {{view}}",
                ),
                unit="s",
            ),
            heat(
                "Answers by duration",
                "Each column is a moment, each field a range of durations; the brighter, the more answers.",
                query(f"sum by (le) (rate({LATENCY}_bucket{{{HERE}}}[$__rate_interval]))", "{{le}}"),
                unit="s",
            ),
            graph(
                "Server errors by view",
                "Answers with 5xx a second.",
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


def database() -> Section:
    return row(
        "Database, as the application sees it",
        [
            graph(
                "Statements",
                "Statements a second. The two statements of a payment go round Django's counting.",
                query(f"sum by (instance) (rate(django_db_execute_total{{{HERE}}}[$__rate_interval]))", "{{instance}}"),
                unit=PER_SECOND,
            ),
            graph(
                "Duration of statements",
                "The mean, and what 95 % stay below.",
                query(
                    ratio(
                        f"sum(rate(django_db_query_duration_seconds_sum{{{HERE}}}[5m]))",
                        f"sum(rate(django_db_query_duration_seconds_count{{{HERE}}}[5m]))",
                    ),
                    "mean",
                ),
                query(
                    "histogram_quantile(0.95,"
                    f" sum by (le) (rate(django_db_query_duration_seconds_bucket{{{HERE}}}[5m])))",
                    "95 %",
                ),
                unit="s",
            ),
            graph(
                "New connections",
                "Connections a second that had to be made; with the pool warm there are few.",
                query(
                    f"sum by (instance) (rate(django_db_new_connections_total{{{HERE}}}[$__rate_interval]))",
                    "{{instance}}",
                ),
                unit=PER_SECOND,
            ),
            graph(
                "Errors by kind",
                "Statements a second that the database refused, or that found no database.",
                query(f"sum by (type) (rate(django_db_errors_total{{{HERE}}}[$__rate_interval]))", "{{type}}"),
                unit=PER_SECOND,
                thresholds=above(0.01, 1),
                empty="None",
            ),
        ],
        [
            graph(
                "The database answers",
                "Whether PostgreSQL answers its exporter: 1 is yes.",
                query("min(pg_up)", "up"),
                unit="short",
                thresholds=below(1, 0.5),
            ),
            graph(
                "Connections to the database",
                "Share of what it allows (max_connections). Above 80 % an alert fires.",
                query("sum(pg_stat_activity_count) / max(pg_settings_max_connections)", "in use"),
                unit="percentunit",
                thresholds=above(0.6, 0.8),
            ),
        ],
    )


def worker() -> Section:
    return row(
        "Worker",
        [
            graph(
                "Age of each job's success",
                "Since each background job last succeeded: about its interval, as long as all is well.",
                query(
                    f"time() - max by (exported_job) (worker_job_last_success_timestamp_seconds{{{HERE}}})",
                    "{{exported_job}}",
                ),
                unit="s",
            ),
            graph(
                "Processor",
                "Cores that each worker uses.",
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
                "Since when each process runs, and how many files it has open.",
                query(f'time() - process_start_time_seconds{{job="worker", {HERE}}}', "up"),
                query(f'process_open_fds{{job="worker", {HERE}}}', "open files"),
                unit="short",
                decimals=0,
                units={"up": "s"},
            ),
        ],
    )
