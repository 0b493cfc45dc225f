from observability.dashboards.kit import graph, listing, query, row

COMPLETENESS = row(
    "Completeness",
    [
        graph(
            "Open gaps by reason",
            "Alerts that fired and were not sent or did not arrive, by reason.",
            query("sum by (reason) (audit_gaps_open)", "{{reason}}"),
            stacked=True,
        ),
        graph(
            "Age of the heartbeat",
            "Time since the last Watchdog alert of each source. If it grows, alerts no longer get through.",
            query("max by (source) (alert_heartbeat_age_seconds)", "{{source}}"),
            query("max by (source) (alert_heartbeat_limit_seconds)", "{{source}}, limit"),
            unit="s",
        ),
        listing(
            "Worker jobs",
            "Time since each job last succeeded, and its number of failures.",
            query("time() - max by (instance, exported_job) (worker_job_last_success_timestamp_seconds)", "ago"),
            query("sum by (instance, exported_job) (worker_job_errors_total)", "failures"),
            decimals=0,
            units={"ago": "s"},
        ),
    ],
)
