from observability.dashboards.kit import above, graph, query, rate, row

CONTAINER = 'name!=""'
NO_CADVISOR = "cAdvisor does not run"

# Show cAdvisor's metrics, which it reads every 15 seconds. It runs with Compose's profile `containers`.
CONTAINERS = row(
    "Containers",
    [
        graph(
            "CPU by container",
            "CPU cores used by each container.",
            query(rate("container_cpu_usage_seconds_total", CONTAINER, by="name", window="1m"), "{{name}}"),
            stacked=True,
            empty=NO_CADVISOR,
        ),
        graph(
            "Memory by container",
            "Working set of each container, which counts against its limit.",
            query(f"sum by (name) (container_memory_working_set_bytes{{{CONTAINER}}})", "{{name}}"),
            unit="bytes",
            stacked=True,
            empty=NO_CADVISOR,
        ),
        graph(
            "Memory in relation to the limit",
            "Share of the limit that the kernel cannot reclaim. At 100 % it kills the container.",
            query(
                f"(sum by (name) (container_memory_working_set_bytes{{{CONTAINER}}})"
                f" - sum by (name) (container_memory_total_active_file_bytes{{{CONTAINER}}}))"
                f" / (sum by (name) (container_spec_memory_limit_bytes{{{CONTAINER}}}) > 0)",
                "{{name}}",
            ),
            unit="percentunit",
            thresholds=above(0.8, 0.95),
            empty=NO_CADVISOR,
        ),
        graph(
            "Restarts",
            "Starts of each container in the past hour.",
            query(f"sum by (name) (changes(container_start_time_seconds{{{CONTAINER}}}[1h]))", "{{name}}"),
            thresholds=above(1, 3),
            empty=NO_CADVISOR,
        ),
    ],
)
