"""The machine, the containers, PostgreSQL, and the monitoring itself."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from observability.dashboards.kit import (
    PER_MINUTE,
    PER_SECOND,
    above,
    below,
    dashboard,
    graph,
    instance,
    listing,
    query,
    rate,
    ratio,
    row,
    stat,
    words,
)

HOST = 'instance=~"$instance"'
DISK = f'{HOST}, fstype!~"tmpfs|ramfs|overlay|squashfs|iso9660", mountpoint!~"/(etc|proc|sys|run|dev)/.*"'
CONTAINER = 'name!=""'
# Traffic over a bridge between two containers does not leave the machine.
BETWEEN_CONTAINERS = '"lo|br-.+|docker.*|veth.+"'
NO_CADVISOR = "cAdvisor does not run"


def infrastructure() -> Dashboard:
    return dashboard(
        "infrastructure",
        "Infrastructure",
        "The machine, the containers, PostgreSQL, probes from outside, and Prometheus and Alertmanager themselves.",
        variables=[instance("label_values(node_uname_info, instance)", "Machine")],
        rows=[TARGETS, MACHINE, DISKS, CONTAINERS, POSTGRES, CONNECTIONS, PROMETHEUS, ALERTMANAGER],
    )


TARGETS = row(
    "Targets and probes",
    [
        listing(
            "Scraped targets",
            "1: the target answers Prometheus. 0: it does not.",
            query("sum by (job, instance) (up)", "up"),
            query("max by (job, instance) (scrape_duration_seconds)", "duration of a scrape"),
            unit="short",
            units={"duration of a scrape": "s"},
            show_job=True,
        ),
        graph(
            "Targets down",
            "Number of targets per job that do not answer.",
            query("count by (job) (up == 0)", "{{job}}"),
            unit="short",
            thresholds=above(1),
            empty="None",
        ),
    ],
    [
        graph(
            "Probes from outside",
            "1: the health check succeeds. 0: it fails.",
            query("min by (service, instance) (probe_success)", "{{service}} {{instance}}"),
            unit="short",
            thresholds=below(1, 0.5),
        ),
        graph(
            "Certificates",
            "Time until the certificate of each probed address expires.",
            query("min by (instance) (probe_ssl_earliest_cert_expiry) - time()", "{{instance}}"),
            unit="s",
            thresholds=below(14 * 86400, 3 * 86400),
            empty="No probed address has a certificate",
        ),
    ],
)


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
            unit="short",
            thresholds=above(1.5, 3),
        ),
        graph(
            "Memory in use",
            "Share of the memory that is not available to new processes.",
            query(
                f"1 - node_memory_MemAvailable_bytes{{{HOST}}} / node_memory_MemTotal_bytes{{{HOST}}}",
                "{{instance}}",
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


DISKS = row(
    "Disks",
    [
        graph(
            "Disk space used",
            "Share of the space of each file system.",
            query(
                f"1 - min by (instance, device) (node_filesystem_avail_bytes{{{DISK}}})"
                f" / max by (instance, device) (node_filesystem_size_bytes{{{DISK}}})",
                "{{device}} {{instance}}",
            ),
            unit="percentunit",
            thresholds=above(0.8, 0.9),
        ),
        graph(
            "Inodes used",
            "Share of the inodes of each file system.",
            query(
                f"1 - min by (instance, device) (node_filesystem_files_free{{{DISK}}})"
                f" / (max by (instance, device) (node_filesystem_files{{{DISK}}}) > 0)",
                "{{device}} {{instance}}",
            ),
            unit="percentunit",
            thresholds=above(0.8, 0.9),
        ),
        graph(
            "Disk utilisation",
            "Share of time that each disk was busy.",
            query(f"rate(node_disk_io_time_seconds_total{{{HOST}}}[$__rate_interval])", "{{device}} {{instance}}"),
            unit="percentunit",
            thresholds=above(0.8, 0.95),
        ),
    ],
)


# Show cAdvisor's metrics, which it reads every 15 seconds. It runs with Compose's profile `containers`.
CONTAINERS = row(
    "Containers",
    [
        graph(
            "CPU by container",
            "CPU cores used by each container.",
            query(rate("container_cpu_usage_seconds_total", CONTAINER, by="name", window="1m"), "{{name}}"),
            unit="short",
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
            unit="short",
            thresholds=above(1, 3),
            empty=NO_CADVISOR,
        ),
    ],
)


OUR_DATABASES = 'datname!~"template.*|postgres|"'
POSTGRES = row(
    "PostgreSQL",
    [
        stat(
            "Database",
            "Up: the exporter reaches PostgreSQL.",
            query("min(pg_up)", "up"),
            unit="short",
            thresholds=below(1, 0.5),
            mappings=words(_1=("up", "green"), _0=("down", "red")),
        ),
        graph(
            "Transactions",
            "Committed and rolled back transactions per second.",
            query(f"sum(rate(pg_stat_database_xact_commit{{{OUR_DATABASES}}}[$__rate_interval]))", "committed"),
            query(f"sum(rate(pg_stat_database_xact_rollback{{{OUR_DATABASES}}}[$__rate_interval]))", "rolled back"),
            unit=PER_SECOND,
        ),
        graph(
            "Rows written",
            "Rows per second.",
            query(f"sum(rate(pg_stat_database_tup_inserted{{{OUR_DATABASES}}}[$__rate_interval]))", "inserted"),
            query(f"sum(rate(pg_stat_database_tup_updated{{{OUR_DATABASES}}}[$__rate_interval]))", "updated"),
            query(f"sum(rate(pg_stat_database_tup_deleted{{{OUR_DATABASES}}}[$__rate_interval]))", "deleted"),
            unit=PER_SECOND,
        ),
        graph(
            "Size",
            "Size of the database on disk.",
            query(f"sum by (datname) (pg_database_size_bytes{{{OUR_DATABASES}}})", "{{datname}}"),
            unit="bytes",
        ),
    ],
)


CONNECTIONS = row(
    "PostgreSQL connections and waits",
    [
        graph(
            "Connections in use",
            "Share of max_connections. At the limit PostgreSQL refuses new connections.",
            query(
                "sum(pg_stat_database_numbackends) / max(pg_settings_max_connections)",
                "in use",
            ),
            unit="percentunit",
            thresholds=above(0.7, 0.9),
        ),
        graph(
            "Sessions by state",
            "A session that is idle in transaction holds locks and does nothing.",
            query(f"sum by (state) (pg_stat_activity_count{{{OUR_DATABASES}}})", "{{state}}"),
            unit="short",
            stacked=True,
        ),
        graph(
            "Cache hit ratio",
            "Share of reads that needed no disk access.",
            query(
                ratio(
                    f"sum(rate(pg_stat_database_blks_hit{{{OUR_DATABASES}}}[5m]))",
                    f"(sum(rate(pg_stat_database_blks_hit{{{OUR_DATABASES}}}[5m]))"
                    f" + sum(rate(pg_stat_database_blks_read{{{OUR_DATABASES}}}[5m])))",
                ),
                "cache hits",
            ),
            unit="percentunit",
            thresholds=below(0.95, 0.8),
        ),
        graph(
            "Deadlocks and longest transaction",
            "Deadlocks per minute, and the age of the oldest open transaction in seconds.",
            query(f"sum(rate(pg_stat_database_deadlocks{{{OUR_DATABASES}}}[5m])) * 60", "deadlocks per minute"),
            query(f"max(pg_stat_activity_max_tx_duration{{{OUR_DATABASES}}})", "oldest transaction, s"),
            unit="short",
        ),
    ],
)


PROMETHEUS = row(
    "Prometheus",
    [
        graph(
            "Series and samples",
            "Series in memory, and samples per second.",
            query("sum(prometheus_tsdb_head_series)", "series"),
            query(rate("prometheus_tsdb_head_samples_appended_total"), "samples /s"),
            unit="short",
        ),
        graph(
            "Rule evaluation",
            "Duration of the last evaluation of each rule group.",
            query("max by (rule_group) (prometheus_rule_group_last_duration_seconds)", "{{rule_group}}"),
            unit="s",
            thresholds=above(1, 4),
            called=".*;(.*)",  # the label is the path of the file, then the name
        ),
        graph(
            "Failures",
            "Per minute: failed rules, dropped notifications, samples out of order, storage failures.",
            query("sum(rate(prometheus_rule_evaluation_failures_total[5m])) * 60", "rules failed"),
            query("sum(rate(prometheus_notifications_dropped_total[5m])) * 60", "notifications dropped"),
            query("sum(rate(prometheus_target_scrapes_sample_out_of_order_total[5m])) * 60", "out of order"),
            query(
                "(sum(rate(prometheus_tsdb_compactions_failed_total[5m]))"
                " + sum(rate(prometheus_tsdb_wal_truncations_failed_total[5m]))"
                " + sum(rate(prometheus_tsdb_checkpoint_creations_failed_total[5m]))) * 60",
                "storage failed",
            ),
            unit=PER_MINUTE,
            thresholds=above(0.01, 1),
        ),
        graph(
            "Storage",
            "Size of the stored blocks, without the newest two hours.",
            query("sum(prometheus_tsdb_storage_blocks_bytes)", "blocks"),
            unit="bytes",
        ),
    ],
)


ALERTMANAGER = row(
    "Alertmanager",
    [
        graph(
            "Alerts by state",
            "Active alerts are notified. Suppressed alerts are silenced or inhibited.",
            query("sum by (state) (alertmanager_alerts)", "{{state}}"),
            unit="short",
            stacked=True,
        ),
        graph(
            "Notifications",
            "Notifications sent per minute by integration.",
            query(
                "sum by (integration) (rate(alertmanager_notifications_total"
                '{integration=~"webhook|telegram"}[5m])) * 60',
                "{{integration}}",
            ),
            unit=PER_MINUTE,
        ),
        graph(
            "Duration of notifications",
            "95th percentile.",
            query(
                "histogram_quantile(0.95, sum by (le, integration)"
                ' (rate(alertmanager_notification_latency_seconds_bucket{integration=~"webhook|telegram"}[5m])))',
                "{{integration}}",
            ),
            unit="s",
            thresholds=above(5, 15),
        ),
        stat(
            "Configuration loaded",
            "Prometheus and Alertmanager accepted their last configuration.",
            query("min(prometheus_config_last_reload_successful)", "Prometheus"),
            query("min(alertmanager_config_last_reload_successful)", "Alertmanager"),
            unit="short",
            thresholds=below(1, 0.5),
            mappings=words(_1=("yes", "green"), _0=("no", "red")),
        ),
    ],
)
