"""Alerts on their way, and whether the trail that keeps them is complete and sealed."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from observability.dashboards.kit import (
    PER_MINUTE,
    PER_SECOND,
    Section,
    above,
    dashboard,
    graph,
    listing,
    query,
    row,
    stat,
    words,
)


def alert_trail() -> Dashboard:
    return dashboard(
        "alert-trail",
        "Alerts and audit trail",
        "What fires, whether every notification arrived and was stored, and whether the trail is complete and sealed.",
        rows=[at_a_glance(), firing(), deliveries(), projection(), seal(), completeness()],
        period="now-6h",
    )


def at_a_glance() -> Section:
    return row(
        "At a glance",
        [
            stat(
                "Alerts firing",
                "As Prometheus sees them now, the heartbeat not counted.",
                query('count(ALERTS{alertstate="firing", alertname!="Watchdog"}) or vector(0)', "firing"),
                unit="short",
                thresholds=above(1, 5),
            ),
            stat(
                "Open episodes",
                "Alerts that the trail holds as firing, the heartbeat not counted.",
                query('sum(alert_episodes_open{severity!="none"})', "open"),
                unit="short",
                thresholds=above(5, 20),
            ),
            stat(
                "Findings",
                "What the last verification of the trail found wrong. Anything but none is an incident.",
                query("max(audit_verification_findings)", "findings"),
                unit="short",
                thresholds=above(1),
                mappings=words(_0=("None", "green")),
                only_now=True,
            ),
            stat(
                "Age of the last verification",
                "Since the trail was last verified from the first byte to the last signature, and found whole.",
                query("time() - max(audit_last_verification_timestamp_seconds > 0)", "ago"),
                unit="s",
                thresholds=above(2 * 3600, 24 * 3600),
            ),
            stat(
                "Age of the seal",
                "Since the last signed checkpoint. One is made every minute, even when nothing came.",
                query("time() - max(audit_last_seal_timestamp_seconds > 0)", "ago"),
                unit="s",
                thresholds=above(180, 600),
            ),
            stat(
                "Open gaps",
                "Known holes of the trail: alerts that fired and never arrived, times without a heartbeat. Not counted:"
                " inhibited and silenced ones, which somebody decided not to send.",
                query('sum(audit_gaps_open{reason!~"inhibited|silenced"})', "gaps"),
                unit="short",
                thresholds=above(1, 5),
            ),
        ],
    )


def firing() -> Section:
    return row(
        "What fires",
        [
            listing(
                "Alerts firing and pending",
                "As Prometheus sees them now; pending ones are about to fire. Runbooks: observability/runbooks/.",
                query('sum by (alertname, severity, instance, alertstate) (ALERTS{alertname!="Watchdog"})', "alerts"),
                unit="short",
                decimals=0,
                empty="None",
            ),
            graph(
                "Alerts by severity",
                "Firing alerts over time, the heartbeat included: its severity is none.",
                query('count by (severity) (ALERTS{alertstate="firing"})', "{{severity}}"),
                unit="short",
                stacked=True,
            ),
        ],
        [
            graph(
                "Open episodes by severity",
                "What the trail holds as firing.",
                query("sum by (severity) (alert_episodes_open)", "{{severity}}"),
                unit="short",
                stacked=True,
            ),
            graph(
                "Handed to Alertmanager",
                "Alerts a second that Prometheus sent, and those it had to drop.",
                query("sum(rate(prometheus_notifications_sent_total[$__rate_interval]))", "sent"),
                query("sum(rate(prometheus_notifications_dropped_total[$__rate_interval]))", "dropped"),
                unit=PER_SECOND,
            ),
        ],
    )


def deliveries() -> Section:
    return row(
        "Deliveries",
        [
            graph(
                "Requests to the webhook",
                "A second, by what became of them. Only stored ones were answered with 200.",
                query(
                    "sum by (source, outcome) (rate(alert_deliveries_total[$__rate_interval]))",
                    "{{outcome}} {{source}}",
                ),
                unit=PER_SECOND,
            ),
            graph(
                "Alerts in stored deliveries",
                "A second, by status.",
                query("sum by (status) (rate(alerts_received_total[$__rate_interval]))", "{{status}}"),
                unit=PER_SECOND,
            ),
            graph(
                "Notifications that Alertmanager sent",
                "A second, by way. Compare the webhook's with what was stored.",
                query(
                    'sum by (integration) (rate(alertmanager_notifications_total{integration=~"webhook|telegram"}'
                    "[$__rate_interval]))",
                    "{{integration}}",
                ),
                unit=PER_SECOND,
            ),
            graph(
                "Notifications that failed",
                "Attempts a second that did not arrive. Alertmanager tries again, but not for ever.",
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


def projection() -> Section:
    return row(
        "Projection",
        [
            graph(
                "Lag",
                "Age of the oldest delivery that the trail's tables do not show yet.",
                query("max(alert_projection_lag_seconds)", "lag"),
                unit="s",
                thresholds=above(30, 300),
            ),
            graph(
                "Waiting inputs",
                "Deliveries and observations that are stored, but not projected yet.",
                query("max(alert_projection_pending)", "waiting"),
                unit="short",
                thresholds=above(100, 1000),
            ),
            graph(
                "Quarantined deliveries",
                "Stored, but not readable as a notification of Alertmanager; the admin shows them.",
                query("max(alert_quarantined_deliveries)", "quarantined"),
                unit="short",
                thresholds=above(1),
            ),
            graph(
                "Transitions per minute",
                "Changes of state of episodes.",
                query("sum by (state) (rate(alert_transitions_total[5m])) * 60", "{{state}}"),
                unit=PER_MINUTE,
            ),
        ],
    )


def seal() -> Section:
    return row(
        "Seal",
        [
            graph(
                "Size of the log",
                "Leaves of the Merkle tree: deliveries, inputs, reviews, gaps and views. It only grows.",
                query("max(audit_tree_size)", "leaves"),
                unit="short",
            ),
            graph(
                "Not sealed yet",
                "Leaves that no signed checkpoint covers.",
                query("max(audit_unsealed_leaves)", "leaves"),
                unit="short",
                thresholds=above(10_000, 100_000),
            ),
            graph(
                "Age of the seal and of the verification",
                "Since the last checkpoint, and since the last verification that found nothing.",
                query("time() - max(audit_last_seal_timestamp_seconds > 0)", "seal"),
                query("time() - max(audit_last_verification_timestamp_seconds > 0)", "verification"),
                unit="s",
            ),
        ],
    )


def completeness() -> Section:
    return row(
        "Completeness",
        [
            graph(
                "Open gaps by reason",
                "Alerts that fired and were never sent or never arrived, and why.",
                query("sum by (reason) (audit_gaps_open)", "{{reason}}"),
                unit="short",
                stacked=True,
            ),
            graph(
                "Age of the heartbeat",
                "Since the last Watchdog alert of each source. When it grows, alerts no longer get through.",
                query("max by (source) (alert_heartbeat_age_seconds)", "{{source}}"),
                unit="s",
                thresholds=above(600, 900),
            ),
            listing(
                "Jobs of the worker",
                "Since each background job last succeeded, and how often it failed.",
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
