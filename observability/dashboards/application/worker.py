from observability.dashboards.application.shared import HERE
from observability.dashboards.kit import graph, listing, query, row

WORKER = row(
    "Worker",
    [
        graph(
            "Time since each job's last success",
            "In normal operation about the interval of the job.",
            query(
                f"time() - max by (exported_job) (worker_job_last_success_timestamp_seconds{{{HERE}}})",
                "{{exported_job}}",
            ),
            unit="s",
        ),
        graph(
            "CPU",
            "CPU cores used by each worker.",
            query(f'rate(process_cpu_seconds_total{{job="worker", {HERE}}}[$__rate_interval])', "{{instance}}"),
            axis=0.1,
        ),
        graph(
            "Memory",
            "Resident memory of each worker.",
            query(f'process_resident_memory_bytes{{job="worker", {HERE}}}', "{{instance}}"),
            unit="bytes",
        ),
        listing(
            "Processes",
            "Uptime and open files of each process.",
            query(f'time() - process_start_time_seconds{{job="worker", {HERE}}}', "up"),
            query(f'process_open_fds{{job="worker", {HERE}}}', "open files"),
            decimals=0,
            units={"up": "s"},
        ),
    ],
)
