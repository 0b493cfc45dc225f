from observability.dashboards.infrastructure.shared import HOST
from observability.dashboards.kit import above, graph, query, rate, row

# Traffic over a bridge between two containers does not leave the machine.
BETWEEN_CONTAINERS = '"lo|br-.+|docker.*|veth.+"'
REAL_DEVICES = f"{HOST}, device!~{BETWEEN_CONTAINERS}"
ALL_CONTAINERS = f'id="/", interface!~{BETWEEN_CONTAINERS}'

MACHINE = row(
    "Machine",
    [
        graph(
            "CPU",
            "Share of all CPU cores in use.",
            query(
                f'1 - avg by (instance) (rate(node_cpu_seconds_total{{{HOST}, mode="idle"}}[$__rate_interval]))',
                "{{instance}}",
            ),
            unit="percentunit",
            thresholds=above(0.8, 0.95),
        ),
        graph(
            "Load per core",
            "Processes that run or wait for CPU or disk, averaged over five minutes.",
            query(
                f"sum by (instance) (node_load5{{{HOST}}})"
                f' / count by (instance) (node_cpu_seconds_total{{{HOST}, mode="idle"}})',
                "{{instance}}",
            ),
            thresholds=above(1.5, 3),
        ),
        graph(
            "Memory in use",
            "Share of the memory that is not available to new processes.",
            query(
                f"1 - node_memory_MemAvailable_bytes{{{HOST}}} / node_memory_MemTotal_bytes{{{HOST}}}", "{{instance}}"
            ),
            unit="percentunit",
            thresholds=above(0.85, 0.95),
        ),
        graph(
            "Network",
            "Bytes per second of all interfaces except loopback and the bridges between containers. With Compose"
            " cAdvisor reports them, because the node exporter in a container sees only its own interfaces.",
            query(rate("node_network_receive_bytes_total", REAL_DEVICES, by="instance"), "{{instance}} in"),
            query(rate("node_network_transmit_bytes_total", REAL_DEVICES, by="instance"), "{{instance}} out"),
            query(rate("container_network_receive_bytes_total", ALL_CONTAINERS, window="1m"), "machine in"),
            query(rate("container_network_transmit_bytes_total", ALL_CONTAINERS, window="1m"), "machine out"),
            unit="Bps",
        ),
    ],
)
