"""What everything stands on: the machine, the containers, PostgreSQL, and the monitoring itself."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from observability.dashboards.kit import (
    PER_MINUTE,
    PER_SECOND,
    Section,
    above,
    below,
    dashboard,
    graph,
    instance,
    listing,
    query,
    ratio,
    row,
    stat,
    words,
)

HOST = 'instance=~"$instance"'
DISK = f'{HOST}, fstype!~"tmpfs|ramfs|overlay|squashfs|iso9660", mountpoint!~"/(etc|proc|sys|run|dev)/.*"'
CONTAINER = 'name!=""'
# What passes a bridge between two containers has not left the machine.
BETWEEN_CONTAINERS = '"lo|br-.+|docker.*|veth.+"'
NO_CADVISOR = "cAdvisor does not run"


def infrastructure() -> Dashboard:
    return dashboard(
        "infrastructure",
        "Infrastructure",
        "The machine, the containers, PostgreSQL, probes from outside, and Prometheus and Alertmanager themselves.",
        variables=[instance("label_values(node_uname_info, instance)", "Machine")],
        rows=[targets(), machine(), disks(), containers(), postgres(), connections(), prometheus(), alertmanager()],
    )


def targets() -> Section:
    return row(
        "Is everything up?",
        [
            listing(
                "Scraped targets",
                "1: it answers Prometheus. 0: it does not.",
                query("sum by (job, instance) (up)", "up"),
                query("max by (job, instance) (scrape_duration_seconds)", "duration of a scrape"),
                unit="short",
                units={"duration of a scrape": "s"},
                show_job=True,
            ),
            graph(
                "Targets down",
                "How many targets of each job do not answer.",
                query("count by (job) (up == 0)", "{{job}}"),
                unit="short",
                thresholds=above(1),
                empty="None",
            ),
        ],
        [
            graph(
                "Probes from outside",
                "Whether pages answer as they should: 1 is yes.",
                query("min by (service, instance) (probe_success)", "{{service}} {{instance}}"),
                unit="short",
                thresholds=below(1, 0.5),
            ),
            graph(
                "Certificates",
                "Time until the certificate of each probed address ends.",
                query("min by (instance) (probe_ssl_earliest_cert_expiry) - time()", "{{instance}}"),
                unit="s",
                thresholds=below(14 * 86400, 3 * 86400),
                empty="No probed address has one",
            ),
        ],
    )


def machine() -> Section:
    return row(
        "Machine",
        [
            graph(
                "Processor",
                "Share of all cores that work.",
                query(
                    f'1 - avg by (instance) (rate(node_cpu_seconds_total{{{HOST}, mode="idle"}}[$__rate_interval]))',
                    "{{instance}}",
                ),
                unit="percentunit",
                thresholds=above(0.8, 0.95),
            ),
            graph(
                "Load per core",
                "Processes that run or wait for a core or a disk, in the mean of five minutes.",
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
                "Share that is not available to new processes.",
                query(
                    f"1 - node_memory_MemAvailable_bytes{{{HOST}}} / node_memory_MemTotal_bytes{{{HOST}}}",
                    "{{instance}}",
                ),
                unit="percentunit",
                thresholds=above(0.85, 0.95),
            ),
            graph(
                "Network",
                "Bytes a second of all interfaces but loopback and the bridges between containers. With Compose it is"
                " cAdvisor that tells them: the node exporter, in a container, sees its own alone.",
                query(
                    "sum by (instance) (rate(node_network_receive_bytes_total"
                    f"{{{HOST}, device!~{BETWEEN_CONTAINERS}}}[$__rate_interval]))",
                    "{{instance}} in",
                ),
                query(
                    "sum by (instance) (rate(node_network_transmit_bytes_total"
                    f"{{{HOST}, device!~{BETWEEN_CONTAINERS}}}[$__rate_interval]))",
                    "{{instance}} out",
                ),
                query(
                    f'sum(rate(container_network_receive_bytes_total{{id="/", interface!~{BETWEEN_CONTAINERS}}}[1m]))',
                    "machine in",
                ),
                query(
                    f'sum(rate(container_network_transmit_bytes_total{{id="/", interface!~{BETWEEN_CONTAINERS}}}[1m]))',
                    "machine out",
                ),
                unit="Bps",
            ),
        ],
    )


def disks() -> Section:
    return row(
        "Disks",
        [
            graph(
                "Disk space used",
                "Share of each file system.",
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
                "Share of each file system's places for files.",
                query(
                    f"1 - min by (instance, device) (node_filesystem_files_free{{{DISK}}})"
                    f" / (max by (instance, device) (node_filesystem_files{{{DISK}}}) > 0)",
                    "{{device}} {{instance}}",
                ),
                unit="percentunit",
                thresholds=above(0.8, 0.9),
            ),
            graph(
                "Disk at work",
                "Share of the time that each disk was busy.",
                query(f"rate(node_disk_io_time_seconds_total{{{HOST}}}[$__rate_interval])", "{{device}} {{instance}}"),
                unit="percentunit",
                thresholds=above(0.8, 0.95),
            ),
        ],
    )


def containers() -> Section:
    """From cAdvisor, which looks every 15 seconds, and runs with Compose's profile for it."""
    return row(
        "Containers",
        [
            graph(
                "Processor by container",
                "Cores that each container uses.",
                query(
                    f"sum by (name) (rate(container_cpu_usage_seconds_total{{{CONTAINER}}}[1m]))",
                    "{{name}}",
                ),
                unit="short",
                stacked=True,
                empty=NO_CADVISOR,
            ),
            graph(
                "Memory by container",
                "What counts against its limit.",
                query(f"sum by (name) (container_memory_working_set_bytes{{{CONTAINER}}})", "{{name}}"),
                unit="bytes",
                stacked=True,
                empty=NO_CADVISOR,
            ),
            graph(
                "Memory of the limit",
                "Share of each container's limit that the kernel cannot take back; at 100 % it ends the container.",
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
                "How often each container started in the past hour.",
                query(f"sum by (name) (changes(container_start_time_seconds{{{CONTAINER}}}[1h]))", "{{name}}"),
                unit="short",
                thresholds=above(1, 3),
                empty=NO_CADVISOR,
            ),
        ],
    )


def postgres() -> Section:
    ours = 'datname!~"template.*|postgres|"'
    return row(
        "PostgreSQL",
        [
            stat(
                "Database",
                "Whether the exporter reaches PostgreSQL.",
                query("min(pg_up)", "up"),
                unit="short",
                thresholds=below(1, 0.5),
                mappings=words(_1=("up", "green"), _0=("down", "red")),
            ),
            graph(
                "Transactions",
                "Committed and rolled back a second.",
                query(f"sum(rate(pg_stat_database_xact_commit{{{ours}}}[$__rate_interval]))", "committed"),
                query(f"sum(rate(pg_stat_database_xact_rollback{{{ours}}}[$__rate_interval]))", "rolled back"),
                unit=PER_SECOND,
            ),
            graph(
                "Rows written",
                "A second.",
                query(f"sum(rate(pg_stat_database_tup_inserted{{{ours}}}[$__rate_interval]))", "inserted"),
                query(f"sum(rate(pg_stat_database_tup_updated{{{ours}}}[$__rate_interval]))", "updated"),
                query(f"sum(rate(pg_stat_database_tup_deleted{{{ours}}}[$__rate_interval]))", "deleted"),
                unit=PER_SECOND,
            ),
            graph(
                "Size",
                "Of the database on disk.",
                query(f"sum by (datname) (pg_database_size_bytes{{{ours}}})", "{{datname}}"),
                unit="bytes",
            ),
        ],
    )


def connections() -> Section:
    ours = 'datname!~"template.*|postgres|"'
    return row(
        "PostgreSQL's connections and waits",
        [
            graph(
                "Connections in use",
                "Share of max_connections. At the limit, new ones are refused.",
                query(
                    "sum(pg_stat_database_numbackends) / max(pg_settings_max_connections)",
                    "in use",
                ),
                unit="percentunit",
                thresholds=above(0.7, 0.9),
            ),
            graph(
                "Sessions by state",
                "Idle in transaction is a session that holds locks and does nothing.",
                query(f"sum by (state) (pg_stat_activity_count{{{ours}}})", "{{state}}"),
                unit="short",
                stacked=True,
            ),
            graph(
                "Pages found in memory",
                "Share of reads that needed no disk.",
                query(
                    ratio(
                        f"sum(rate(pg_stat_database_blks_hit{{{ours}}}[5m]))",
                        f"(sum(rate(pg_stat_database_blks_hit{{{ours}}}[5m]))"
                        f" + sum(rate(pg_stat_database_blks_read{{{ours}}}[5m])))",
                    ),
                    "in memory",
                ),
                unit="percentunit",
                thresholds=below(0.95, 0.8),
            ),
            graph(
                "Deadlocks and longest transaction",
                "Deadlocks a minute, and the age in seconds of the oldest open transaction.",
                query(f"sum(rate(pg_stat_database_deadlocks{{{ours}}}[5m])) * 60", "deadlocks a minute"),
                query(f"max(pg_stat_activity_max_tx_duration{{{ours}}})", "oldest transaction, s"),
                unit="short",
            ),
        ],
    )


def prometheus() -> Section:
    return row(
        "Prometheus",
        [
            graph(
                "Series and samples",
                "Series in memory, and samples a second.",
                query("sum(prometheus_tsdb_head_series)", "series"),
                query("sum(rate(prometheus_tsdb_head_samples_appended_total[$__rate_interval]))", "samples /s"),
                unit="short",
            ),
            graph(
                "Evaluating the rules",
                "How long the last evaluation of each group of rules took.",
                query("max by (rule_group) (prometheus_rule_group_last_duration_seconds)", "{{rule_group}}"),
                unit="s",
                thresholds=above(1, 4),
                called=".*;(.*)",  # the label is the path of the file, then the name
            ),
            graph(
                "Trouble",
                "A minute: rules that failed, notifications dropped, samples out of order, failures of the storage.",
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
                "Size of the stored blocks; the newest two hours are not among them yet.",
                query("sum(prometheus_tsdb_storage_blocks_bytes)", "blocks"),
                unit="bytes",
            ),
        ],
    )


def alertmanager() -> Section:
    return row(
        "Alertmanager",
        [
            graph(
                "Alerts by state",
                "Active ones notify; suppressed ones are silenced or inhibited.",
                query("sum by (state) (alertmanager_alerts)", "{{state}}"),
                unit="short",
                stacked=True,
            ),
            graph(
                "Notifications",
                "Sent a minute, by way.",
                query(
                    "sum by (integration) (rate(alertmanager_notifications_total"
                    '{integration=~"webhook|telegram"}[5m])) * 60',
                    "{{integration}}",
                ),
                unit=PER_MINUTE,
            ),
            graph(
                "Duration of notifications",
                "What 95 % stay below.",
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
                "Whether Prometheus and Alertmanager could read the files they were last told to read.",
                query("min(prometheus_config_last_reload_successful)", "Prometheus"),
                query("min(alertmanager_config_last_reload_successful)", "Alertmanager"),
                unit="short",
                thresholds=below(1, 0.5),
                mappings=words(_1=("yes", "green"), _0=("no", "red")),
            ),
        ],
    )
