from observability.dashboards.application.shared import HERE, LATENCY, RESPONSES
from observability.dashboards.kit import PER_SECOND, above, graph, heat, query, rate, row

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
