from observability.dashboards.kit import PER_SECOND, graph, percentile, query, rate, row

NO_TEMPO = "Tempo does not run, or nothing was traced"

# Show the metrics that Tempo generates from traces every 15 seconds. Their exemplars link to a trace.
TRACES = row(
    "Traced payments",
    [
        graph(
            "Duration of spans",
            "95th percentile of the sampled spans. A dot links to its trace. Sampled are 5 % of the payments, and"
            " all that failed or were slow.",
            query(percentile(0.95, "traces_spanmetrics_latency", by="span_name"), "{{span_name}}", exemplars=True),
            unit="s",
            empty=NO_TEMPO,
        ),
        graph(
            "Calls between services",
            "Sampled calls per second between services.",
            query(
                rate("traces_service_graph_request_total", by="client, server", window="5m"), "{{client}} to {{server}}"
            ),
            unit=PER_SECOND,
            empty=NO_TEMPO,
        ),
    ],
)
