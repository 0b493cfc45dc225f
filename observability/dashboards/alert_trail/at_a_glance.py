from observability.dashboards.kit import above, query, row, stat, words

AT_A_GLANCE = row(
    "At a glance",
    [
        stat(
            "Alerts firing",
            "Alerts that fire in Prometheus now, without the heartbeat.",
            query('count(ALERTS{alertstate="firing", alertname!="Watchdog"}) or vector(0)', "firing"),
            thresholds=above(1, 5),
        ),
        stat(
            "Open episodes",
            "Alerts that fire according to the trail, without the heartbeat.",
            query('sum(alert_episodes_open{severity!="none"})', "open"),
            thresholds=above(5, 20),
        ),
        stat(
            "Findings",
            "Findings of the last verification of the trail. Any finding is an incident.",
            query("max(audit_verification_findings)", "findings"),
            thresholds=above(1),
            mappings=words(_0=("None", "green")),
            only_now=True,
        ),
        stat(
            "Age of the last verification",
            "Time since the last verification without findings.",
            query("time() - max(audit_last_verification_timestamp_seconds > 0)", "ago"),
            unit="s",
            thresholds=above(2 * 3600, 24 * 3600),
        ),
        stat(
            "Age of the seal",
            "Time since the last signed checkpoint. The worker signs one every minute, even without new rows.",
            query("time() - max(audit_last_seal_timestamp_seconds > 0)", "ago"),
            unit="s",
            thresholds=above(180, 600),
        ),
        stat(
            "Open gaps",
            "Known gaps of the trail: alerts that fired and never arrived, and periods without a heartbeat."
            " Inhibited and silenced alerts are excluded, because they are suppressed on purpose.",
            query('sum(audit_gaps_open{reason!~"inhibited|silenced"})', "gaps"),
            thresholds=above(1, 5),
        ),
    ],
)
