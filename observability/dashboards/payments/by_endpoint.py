from observability.dashboards.kit import PER_SECOND, graph, heat, listing, percentile, query, rate, row
from observability.dashboards.payments.shared import RESPONSES, WEB

LATENCY = "django_http_requests_latency_seconds_by_view_method"

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
