from observability.dashboards.application.shared import HERE, LATENCY, RESPONSES
from observability.dashboards.kit import PER_SECOND, below, graph, query, rate, row

WEB = row(
    "Web (gunicorn)",
    [
        graph(
            "Probes of web and gateway",
            "Health checks from outside. 1: the service answers. 0: it does not.",
            query('min by (service) (probe_success{tier="service"})', "{{service}}"),
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
            stacked=True,
        ),
        graph(
            "Payments in progress",
            "Payments in progress over all web processes, and their capacity.",
            query(f"sum(transactions_in_progress{{{HERE}}})", "in progress"),
            query(f"sum(web_capacity{{{HERE}}})", "capacity"),
        ),
    ],
)
