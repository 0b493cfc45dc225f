"""The path of alerts, and the completeness and the seal of the alert trail."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from observability.dashboards.kit import (
    PER_MINUTE,
    PER_SECOND,
    above,
    dashboard,
    graph,
    listing,
    query,
    rate,
    row,
    stat,
    words,
)


def alert_trail() -> Dashboard:
    return dashboard(
        "alert-trail",
        "Alerts and audit trail",
        "Firing alerts, the processing of every notification, and the completeness and the seal of the trail.",
        rows=[AT_A_GLANCE, FIRING, DELIVERIES, PROJECTION, SEAL, COMPLETENESS],
        period="now-6h",
    )


AT_A_GLANCE = row(
    "At a glance",
    [
        stat(
            "Alerts firing",
            "Alerts that fire in Prometheus now, without the heartbeat.",
            query('count(ALERTS{alertstate="firing", alertname!="Watchdog"}) or vector(0)', "firing"),
            unit="short",
            thresholds=above(1, 5),
        ),
        stat(
            "Open episodes",
            "Alerts that fire according to the trail, without the heartbeat.",
            query('sum(alert_episodes_open{severity!="none"})', "open"),
            unit="short",
            thresholds=above(5, 20),
        ),
        stat(
            "Findings",
            "Findings of the last verification of the trail. Any finding is an incident.",
            query("max(audit_verification_findings)", "findings"),
            unit="short",
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
            unit="short",
            thresholds=above(1, 5),
        ),
    ],
)


FIRING = row(
    "Firing alerts",
    [
        listing(
            "Alerts firing and pending",
            "The state in Prometheus now. A pending alert is about to fire. Runbooks: observability/runbooks/.",
            query('sum by (alertname, severity, instance, alertstate) (ALERTS{alertname!="Watchdog"})', "alerts"),
            unit="short",
            decimals=0,
            empty="None",
        ),
        graph(
            "Alerts by severity",
            "Firing alerts over time, including the heartbeat, whose severity is none.",
            query('count by (severity) (ALERTS{alertstate="firing"})', "{{severity}}"),
            unit="short",
            stacked=True,
        ),
    ],
    [
        graph(
            "Open episodes by severity",
            "Firing alerts according to the trail.",
            query("sum by (severity) (alert_episodes_open)", "{{severity}}"),
            unit="short",
            stacked=True,
        ),
        graph(
            "Alerts sent to Alertmanager",
            "Alerts per second that Prometheus sent and dropped.",
            query(rate("prometheus_notifications_sent_total"), "sent"),
            query(rate("prometheus_notifications_dropped_total"), "dropped"),
            unit=PER_SECOND,
        ),
    ],
)


DELIVERIES = row(
    "Deliveries",
    [
        graph(
            "Requests to the webhook",
            "Requests per second by outcome. Only stored deliveries are answered with 200.",
            query(rate("alert_deliveries_total", by="source, outcome"), "{{outcome}} {{source}}"),
            unit=PER_SECOND,
        ),
        graph(
            "Alerts in stored deliveries",
            "Alerts per second by status.",
            query(rate("alerts_received_total", by="status"), "{{status}}"),
            unit=PER_SECOND,
        ),
        graph(
            "Notifications sent by Alertmanager",
            "Notifications per second by integration. Compare the webhook with the stored deliveries.",
            query(
                'sum by (integration) (rate(alertmanager_notifications_total{integration=~"webhook|telegram"}'
                "[$__rate_interval]))",
                "{{integration}}",
            ),
            unit=PER_SECOND,
        ),
        graph(
            "Failed notifications",
            "Failed attempts per second. Alertmanager retries for a limited time.",
            query(
                "sum by (integration) (rate(alertmanager_notifications_failed_total"
                '{integration=~"webhook|telegram"}[5m]))',
                "{{integration}}",
            ),
            unit=PER_SECOND,
            thresholds=above(0.001),
        ),
    ],
)


PROJECTION = row(
    "Projection",
    [
        graph(
            "Lag",
            "Age of the oldest delivery that is not projected yet.",
            query("max(alert_projection_lag_seconds)", "lag"),
            unit="s",
            thresholds=above(30, 300),
        ),
        graph(
            "Waiting inputs",
            "Stored deliveries and observations that are not projected yet.",
            query("max(alert_projection_pending)", "waiting"),
            unit="short",
            thresholds=above(100, 1000),
        ),
        graph(
            "Quarantined deliveries",
            "Stored deliveries that are not valid Alertmanager notifications; the admin shows them.",
            query("max(alert_quarantined_deliveries)", "quarantined"),
            unit="short",
            thresholds=above(1),
        ),
        graph(
            "Transitions per minute",
            "State changes of episodes.",
            query("sum by (state) (rate(alert_transitions_total[5m])) * 60", "{{state}}"),
            unit=PER_MINUTE,
        ),
    ],
)


SEAL = row(
    "Seal",
    [
        graph(
            "Size of the log",
            "Leaves of the Merkle tree: deliveries, inputs, reviews, gaps and views. The log is append-only.",
            query("max(audit_tree_size)", "leaves"),
            unit="short",
        ),
        graph(
            "Not sealed yet",
            "Rows that no signed checkpoint covers yet.",
            query("max(audit_unsealed_leaves)", "leaves"),
            unit="short",
            thresholds=above(10_000, 100_000),
        ),
        graph(
            "Age of the seal and of the verification",
            "Time since the last checkpoint, and since the last verification without findings.",
            query("time() - max(audit_last_seal_timestamp_seconds > 0)", "seal"),
            query("time() - max(audit_last_verification_timestamp_seconds > 0)", "verification"),
            unit="s",
        ),
    ],
)


COMPLETENESS = row(
    "Completeness",
    [
        graph(
            "Open gaps by reason",
            "Alerts that fired and were not sent or did not arrive, by reason.",
            query("sum by (reason) (audit_gaps_open)", "{{reason}}"),
            unit="short",
            stacked=True,
        ),
        graph(
            "Age of the heartbeat",
            "Time since the last Watchdog alert of each source. If it grows, alerts no longer get through.",
            query("max by (source) (alert_heartbeat_age_seconds)", "{{source}}"),
            unit="s",
            thresholds=above(600, 900),
        ),
        listing(
            "Worker jobs",
            "Time since each job last succeeded, and its number of failures.",
            query(
                "time() - max by (instance, exported_job) (worker_job_last_success_timestamp_seconds)",
                "ago",
            ),
            query("sum by (instance, exported_job) (worker_job_errors_total)", "failures"),
            unit="short",
            decimals=0,
            units={"ago": "s"},
        ),
    ],
)
