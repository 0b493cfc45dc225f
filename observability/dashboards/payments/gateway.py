from observability.dashboards.kit import PER_SECOND, above, graph, mean, percentile, query, rate, ratio, row
from observability.dashboards.payments.shared import WEB

GATEWAY_CALLS = f"rate(gateway_requests_total{{{WEB}}}[$__rate_interval])"
GATEWAY_TROUBLE = f'rate(gateway_requests_total{{{WEB}, outcome=~"error|timeout|unavailable"}}[5m])'

GATEWAY = row(
    "Gateway",
    [
        graph(
            "Calls by outcome",
            "Calls per second. After a timeout the worker asks the gateway for the outcome.",
            query(f"sum by (outcome) ({GATEWAY_CALLS})", "{{outcome}}"),
            unit=PER_SECOND,
            stacked=True,
        ),
        graph(
            "Failed calls",
            "Share of calls that ended with error, timeout or unavailable.",
            query(ratio(f"sum({GATEWAY_TROUBLE})", rate("gateway_requests_total", WEB, window="5m")), "failed"),
            unit="percentunit",
            thresholds=above(0.05, 0.2),
        ),
        graph(
            "Duration of calls",
            "Median, 95th and 99th percentile.",
            *(
                query(percentile(quantile, "gateway_request_seconds", WEB), name)
                for quantile, name in ((0.5, "median"), (0.95, "95 %"), (0.99, "99 %"))
            ),
            unit="s",
            thresholds=above(1, 3),
        ),
        graph(
            "Open circuit breakers",
            "Processes that probe a gateway only every five seconds, because ten calls in a row found it unavailable.",
            query("sum by (gateway) (gateway_circuit_open)", "{{gateway}}"),
            unit="short",
            thresholds=above(1),
        ),
    ],
    [
        graph(
            "Calls by gateway",
            "Calls per second to each gateway, cancels included.",
            query(rate("gateway_calls_total", WEB, by="gateway, outcome"), "{{gateway}}: {{outcome}}"),
            unit=PER_SECOND,
        ),
        graph(
            "Duration of calls by gateway",
            "Average of the calls that were answered or timed out.",
            query(mean("gateway_call_seconds", WEB, by="gateway"), "{{gateway}}"),
            unit="s",
            thresholds=above(1, 3),
        ),
        graph(
            "Events from the gateway",
            "Stored events that the worker has processed per second, by outcome.",
            query("sum by (outcome) (rate(gateway_events_processed_total[$__rate_interval]))", "{{outcome}}"),
            unit=PER_SECOND,
        ),
        graph(
            "Age of the oldest waiting event",
            "Age of the oldest event from the gateway that is not applied yet.",
            query("kpi:gateway_event_oldest_waiting_seconds:max", "oldest"),
            unit="s",
            thresholds=above(60, 300),
        ),
    ],
)
