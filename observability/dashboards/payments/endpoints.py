from observability.dashboards.kit import PER_SECOND, above, query, rate, ratio, row, stat
from observability.dashboards.payments.shared import RESPONSES, WEB

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
