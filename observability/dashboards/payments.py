"""Payments in depth: each endpoint, the gateway, idempotency, and what is not settled yet."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from observability.dashboards.kit import (
    PER_SECOND,
    Section,
    above,
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

WEB = 'instance=~"$instance"'
RESPONSES = "django_http_responses_total_by_status_view_method_total"
LATENCY = "django_http_requests_latency_seconds_by_view_method"
NO_TEMPO = "Tempo does not run, or nothing was traced"


def payments() -> Dashboard:
    return dashboard(
        "payments",
        "Payments in depth",
        "Rate, errors and duration of each endpoint; the gateway; idempotency; what is not settled yet.",
        variables=[instance("label_values(transactions_total, instance)")],
        rows=[endpoints(), by_endpoint(), gateway(), idempotency(), unresolved(), traces()],
    )


def endpoints() -> Section:
    return row(
        "All endpoints",
        [
            stat(
                "Requests per second",
                "Answers of the API and the alert webhook.",
                query(f"sum(rate({RESPONSES}{{{WEB}}}[$__rate_interval]))", "requests"),
                unit=PER_SECOND,
                decimals=1,
            ),
            stat(
                "Server errors",
                "Share of answers with 5xx. 503 asks the client to send the same again.",
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
                "Share of answers with 4xx: the client has to change something.",
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
                "Requests refused because their API key sent too many.",
                query(f"sum(rate(throttled_requests_total{{{WEB}}}[$__rate_interval]))", "throttled"),
                unit=PER_SECOND,
                thresholds=above(1, 10),
            ),
        ],
    )


def by_endpoint() -> Section:
    return row(
        "By endpoint",
        [
            graph(
                "Rate",
                "Answers a second.",
                query(f"sum by (method, view) (rate({RESPONSES}{{{WEB}}}[$__rate_interval]))", "{{method}} {{view}}"),
                unit=PER_SECOND,
            ),
            graph(
                "Errors",
                "Answers a second with 4xx or 5xx.",
                query(
                    f'sum by (method, view, status) (rate({RESPONSES}{{{WEB}, status=~"4..|5.."}}[$__rate_interval]))',
                    "{{status}} {{method}} {{view}}",
                ),
                unit=PER_SECOND,
                empty="None",
            ),
            graph(
                "Duration",
                "What 95 % of the answers stay below.",
                query(
                    f"histogram_quantile(0.95, sum by (le, method, view) (rate({LATENCY}_bucket{{{WEB}}}[5m])))",
                    "{{method}} {{view}}",
                ),
                unit="s",
            ),
        ],
        [
            listing(
                "Answers in the time shown",
                "How often each endpoint gave each answer.",
                query(f"sum by (method, view, status) (increase({RESPONSES}{{{WEB}}}[$__range])) > 0", "answers"),
                unit="short",
                decimals=0,
            ),
            heat(
                "Payments by duration",
                "From receipt to answer of new single payments, the gateway's time included.",
                query(f"sum by (le) (rate(transaction_latency_seconds_bucket{{{WEB}}}[$__rate_interval]))", "{{le}}"),
                unit="s",
            ),
        ],
    )


def gateway() -> Section:
    calls = f"rate(gateway_requests_total{{{WEB}}}[$__rate_interval])"
    trouble = f'rate(gateway_requests_total{{{WEB}, outcome=~"error|timeout|unavailable"}}[5m])'
    return row(
        "Gateway",
        [
            graph(
                "Calls by outcome",
                "Calls a second. A timeout is a call whose outcome we have to ask for.",
                query(f"sum by (outcome) ({calls})", "{{outcome}}"),
                unit=PER_SECOND,
                stacked=True,
            ),
            graph(
                "Calls in trouble",
                "Share of calls that ended in an error, a timeout, or found no gateway.",
                query(ratio(f"sum({trouble})", f"sum(rate(gateway_requests_total{{{WEB}}}[5m]))"), "in trouble"),
                unit="percentunit",
                thresholds=above(0.05, 0.2),
            ),
            graph(
                "Duration of calls",
                "The median, and what 95 and 99 % stay below.",
                *(
                    query(
                        f"histogram_quantile({quantile},"
                        f" sum by (le) (rate(gateway_request_seconds_bucket{{{WEB}}}[5m])))",
                        name,
                    )
                    for quantile, name in ((0.5, "median"), (0.95, "95 %"), (0.99, "99 %"))
                ),
                unit="s",
                thresholds=above(1, 3),
            ),
        ],
    )


def idempotency() -> Section:
    return row(
        "Idempotency and refunds",
        [
            graph(
                "Requests by their key",
                "New: first use. Replayed: the stored answer. In flight: the first is still at work. Mismatch: another"
                " body. Recovered: finished for a process that died.",
                query(f"sum by (result) (rate(idempotency_requests_total{{{WEB}}}[$__rate_interval]))", "{{result}}"),
                unit=PER_SECOND,
            ),
            graph(
                "Refunds",
                "Refunds a second that became final.",
                query(f"sum by (status) (rate(refunds_total{{{WEB}}}[$__rate_interval]))", "{{status}}"),
                unit=PER_SECOND,
            ),
            graph(
                "Fraud scores",
                "The mean over all processes, the median, and what 95 % stay below.",
                query("kpi:fraud_score:mean5m", "mean"),
                *(
                    query(f"histogram_quantile({quantile}, sum by (le) (rate(fraud_score_bucket{{{WEB}}}[5m])))", name)
                    for quantile, name in ((0.5, "median"), (0.95, "95 %"))
                ),
                unit="short",
            ),
            graph(
                "Payments that could not be scored",
                "A second. They pass below the merchant's limit, and are blocked above it.",
                query(f"sum(rate(fraud_unscored_total{{{WEB}}}[$__rate_interval]))", "unscored"),
                unit=PER_SECOND,
                thresholds=above(0.01, 1),
            ),
        ],
    )


def unresolved() -> Section:
    return row(
        "Not settled yet",
        [
            graph(
                "Outcomes not known at first",
                "Payments a second whose answer from the gateway was lost or late; the worker asks again.",
                query(f"sum(rate(unknown_outcomes_total{{{WEB}}}[$__rate_interval]))", "not known"),
                unit=PER_SECOND,
            ),
            graph(
                "Payments and refunds not settled",
                "How many rows wait for their outcome, those in progress included.",
                query("kpi:unresolved_transactions:max", "waiting"),
                unit="short",
                thresholds=above(20, 100),
            ),
            graph(
                "Age of the oldest",
                "The longest that one has waited for its outcome.",
                query("kpi:unresolved_oldest_seconds:max", "oldest"),
                unit="s",
                thresholds=above(60, 300),
            ),
            graph(
                "Own and gateway's time",
                "The mean of a payment, from receipt to answer, in two parts.",
                query(
                    ratio(
                        f"sum(rate(transaction_own_seconds_sum{{{WEB}}}[5m]))",
                        f"sum(rate(transaction_own_seconds_count{{{WEB}}}[5m]))",
                    ),
                    "own",
                ),
                query(
                    ratio(
                        f"(sum(rate(transaction_latency_seconds_sum{{{WEB}}}[5m]))"
                        f" - sum(rate(transaction_own_seconds_sum{{{WEB}}}[5m])))",
                        f"sum(rate(transaction_latency_seconds_count{{{WEB}}}[5m]))",
                    ),
                    "gateway",
                ),
                unit="s",
                stacked=True,
            ),
        ],
    )


def traces() -> Section:
    """Numbers that Tempo makes from traces, every 15 seconds; their dots lead to a trace (exemplars)."""
    return row(
        "Traced payments",
        [
            graph(
                "Duration of traced steps",
                "What 95 % of the traced steps stay below; a dot leads to its trace. Traced are some payments, and all"
                " that failed or were slow.",
                query(
                    "histogram_quantile(0.95, sum by (le, span_name) (rate(traces_spanmetrics_latency_bucket[5m])))",
                    "{{span_name}}",
                    exemplars=True,
                ),
                unit="s",
                empty=NO_TEMPO,
            ),
            graph(
                "Calls between services",
                "Traced calls a second from one service to the next.",
                query(
                    "sum by (client, server) (rate(traces_service_graph_request_total[5m]))",
                    "{{client}} to {{server}}",
                ),
                unit=PER_SECOND,
                empty=NO_TEMPO,
            ),
        ],
    )
