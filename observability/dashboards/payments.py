"""Payments in depth: each endpoint, the gateway, idempotency, and open payments."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from observability.dashboards.kit import (
    PER_SECOND,
    above,
    dashboard,
    graph,
    heat,
    instance,
    listing,
    mean,
    percentile,
    query,
    rate,
    ratio,
    row,
    stat,
)

WEB = 'instance=~"$instance"'
RESPONSES = "django_http_responses_total_by_status_view_method_total"
LATENCY = "django_http_requests_latency_seconds_by_view_method"
NO_TEMPO = "Tempo does not run, or nothing was traced"


def payments() -> Dashboard:
    return dashboard(
        "payments",
        "Payments in depth",
        "Rate, errors and duration of each endpoint; the gateway; idempotency; open payments.",
        variables=[instance("label_values(transactions_total, instance)")],
        rows=[ENDPOINTS, BY_ENDPOINT, GATEWAY, IDEMPOTENCY, UNRESOLVED, WEBHOOKS, TRACES],
    )


ENDPOINTS = row(
    "All endpoints",
    [
        stat(
            "Requests per second",
            "Responses of the API and the alert webhook.",
            query(f"sum(rate({RESPONSES}{{{WEB}}}[$__rate_interval]))", "requests"),
            unit=PER_SECOND,
            decimals=1,
        ),
        stat(
            "Server errors",
            "Share of responses with 5xx. 503 asks the client to repeat the request.",
            query(
                ratio(
                    f'(sum(rate({RESPONSES}{{{WEB}, status=~"5.."}}[5m])) or vector(0))',
                    f"sum(rate({RESPONSES}{{{WEB}}}[5m]))",
                ),
                "5xx",
            ),
            unit="percentunit",
            thresholds=above(0.001, 0.01),
        ),
        stat(
            "Refused requests",
            "Share of responses with 4xx: the client must correct the request.",
            query(
                ratio(
                    f'(sum(rate({RESPONSES}{{{WEB}, status=~"4.."}}[5m])) or vector(0))',
                    f"sum(rate({RESPONSES}{{{WEB}}}[5m]))",
                ),
                "4xx",
            ),
            unit="percentunit",
            thresholds=above(0.1, 0.5),
        ),
        stat(
            "Throttled per second",
            "Requests per second refused because their API key exceeded its limit.",
            query(rate("throttled_requests_total", WEB), "throttled"),
            unit=PER_SECOND,
            thresholds=above(1, 10),
        ),
    ],
)


BY_ENDPOINT = row(
    "By endpoint",
    [
        graph(
            "Rate",
            "Responses per second.",
            query(f"sum by (method, view) (rate({RESPONSES}{{{WEB}}}[$__rate_interval]))", "{{method}} {{view}}"),
            unit=PER_SECOND,
        ),
        graph(
            "Errors",
            "Responses per second with 4xx or 5xx.",
            query(
                f'sum by (method, view, status) (rate({RESPONSES}{{{WEB}, status=~"4..|5.."}}[$__rate_interval]))',
                "{{status}} {{method}} {{view}}",
            ),
            unit=PER_SECOND,
            empty="None",
        ),
        graph(
            "Duration",
            "95th percentile of the response time.",
            query(percentile(0.95, LATENCY, WEB, by="method, view"), "{{method}} {{view}}"),
            unit="s",
        ),
    ],
    [
        listing(
            "Responses in the selected time range",
            "Number of responses by endpoint and status.",
            query(f"sum by (method, view, status) (increase({RESPONSES}{{{WEB}}}[$__range])) > 0", "responses"),
            unit="short",
            decimals=0,
        ),
        heat(
            "Payments by duration",
            "From receipt to response of new single payments, including the gateway's time.",
            query(rate("transaction_latency_seconds_bucket", WEB, by="le"), "{{le}}"),
            unit="s",
        ),
    ],
)


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


IDEMPOTENCY = row(
    "Idempotency and refunds",
    [
        graph(
            "Requests by idempotency result",
            "New: first use. Replayed: the stored answer. In flight: the first request is in progress. Mismatch: a"
            " different body. Recovered: completed for a process that died.",
            query(rate("idempotency_requests_total", WEB, by="result"), "{{result}}"),
            unit=PER_SECOND,
        ),
        graph(
            "Refunds",
            "Refunds per second that became final.",
            query(rate("refunds_total", WEB, by="status"), "{{status}}"),
            unit=PER_SECOND,
        ),
        graph(
            "Fraud scores",
            "Mean over all processes, median, and 95th percentile.",
            query("kpi:fraud_score:mean5m", "mean"),
            *(
                query(percentile(quantile, "fraud_score", WEB), name)
                for quantile, name in ((0.5, "median"), (0.95, "95 %"))
            ),
            unit="short",
        ),
        graph(
            "Unscored payments",
            "Payments per second. Below the merchant's limit they pass, above it they are blocked.",
            query(rate("fraud_unscored_total", WEB), "unscored"),
            unit=PER_SECOND,
            thresholds=above(0.01, 1),
        ),
    ],
)


UNRESOLVED = row(
    "Open payments",
    [
        graph(
            "Unknown outcomes",
            "Payments per second whose answer from the gateway was lost or late. The worker asks the gateway.",
            query(rate("unknown_outcomes_total", WEB), "unknown"),
            unit=PER_SECOND,
        ),
        graph(
            "Open payments and refunds",
            "Payments and refunds that are not final, including those in progress.",
            query("kpi:unresolved_transactions:max", "waiting"),
            unit="short",
            thresholds=above(20, 100),
        ),
        graph(
            "Age of the oldest",
            "Age of the oldest payment or refund that is not final.",
            query("kpi:unresolved_oldest_seconds:max", "oldest"),
            unit="s",
            thresholds=above(60, 300),
        ),
        graph(
            "Own time and gateway time",
            "Mean time from receipt to response, split into our own time and the gateway's.",
            query(mean("transaction_own_seconds", WEB), "own"),
            query(
                ratio(
                    f"(sum(rate(transaction_latency_seconds_sum{{{WEB}}}[5m]))"
                    f" - sum(rate(transaction_own_seconds_sum{{{WEB}}}[5m])))",
                    rate("transaction_latency_seconds_count", WEB, window="5m"),
                ),
                "gateway",
            ),
            unit="s",
            stacked=True,
        ),
    ],
)


WEBHOOKS = row(
    "Webhooks to merchants",
    [
        graph(
            "Webhook attempts",
            "Attempts to deliver a webhook per second, by outcome.",
            query("sum by (outcome) (rate(webhook_attempts_total[$__rate_interval]))", "{{outcome}}"),
            unit=PER_SECOND,
            stacked=True,
        ),
        graph(
            "Failed webhook attempts",
            "Share of the attempts of 15 minutes that did not deliver.",
            query("kpi:webhook_failures:ratio_rate15m", "failed"),
            unit="percentunit",
            thresholds=above(0.2, 0.5),
        ),
        graph(
            "Waiting webhooks",
            "Deliveries that wait, also for endpoints that pause.",
            query("max(webhook_pending_deliveries)", "waiting"),
            unit="short",
        ),
        graph(
            "Age of the oldest waiting webhook",
            "Age of the oldest webhook that should be under way and is not.",
            query("kpi:webhook_oldest_waiting_seconds:max", "oldest"),
            unit="s",
            thresholds=above(60, 300),
        ),
    ],
)


# Show the metrics that Tempo generates from traces every 15 seconds. Their exemplars link to a trace.
TRACES = row(
    "Traced payments",
    [
        graph(
            "Duration of spans",
            "95th percentile of the sampled spans. A dot links to its trace. Sampled are 5 % of the payments, and"
            " all that failed or were slow.",
            query(
                percentile(0.95, "traces_spanmetrics_latency", by="span_name"),
                "{{span_name}}",
                exemplars=True,
            ),
            unit="s",
            empty=NO_TEMPO,
        ),
        graph(
            "Calls between services",
            "Sampled calls per second between services.",
            query(
                rate("traces_service_graph_request_total", by="client, server", window="5m"),
                "{{client}} to {{server}}",
            ),
            unit=PER_SECOND,
            empty=NO_TEMPO,
        ),
    ],
)
