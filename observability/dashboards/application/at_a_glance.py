from observability.dashboards.application.shared import HERE, LATENCY
from observability.dashboards.kit import PER_MINUTE, PER_SECOND, above, below, query, rate, row, stat

AT_A_GLANCE = row(
    "At a glance",
    [
        stat(
            "Scraped processes",
            "Processes of the application that answer Prometheus.",
            query(f'sum(up{{job=~"web|worker", {HERE}}})', "up"),
            thresholds=below(2, 1),
        ),
        stat(
            "Capacity in use by payments",
            "Share of the web's capacity that payments use. Above 80 % an alert fires, because requests may queue.",
            query(
                f'sum(transactions_in_progress{{job="web", {HERE}}}) / sum(web_capacity{{job="web", {HERE}}})', "in use"
            ),
            unit="percentunit",
            thresholds=above(0.5, 0.8),
        ),
        stat(
            "Threads busy",
            "Requests in progress, averaged over the past minute: rate times duration.",
            query(rate(f"{LATENCY}_sum", HERE, window="1m"), "busy"),
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
