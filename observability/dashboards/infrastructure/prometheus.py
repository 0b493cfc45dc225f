from observability.dashboards.kit import PER_MINUTE, above, graph, query, rate, row

PROMETHEUS = row(
    "Prometheus",
    [
        graph(
            "Series and samples",
            "Series in memory, and samples per second.",
            query("sum(prometheus_tsdb_head_series)", "series"),
            query(rate("prometheus_tsdb_head_samples_appended_total"), "samples /s"),
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
