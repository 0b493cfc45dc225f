"""What the processes said. Each line is a JSON object; its trace id leads to its trace."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from observability.dashboards.documented import ALERT_LOG
from observability.dashboards.kit import PER_MINUTE, PER_SECOND, Section, dashboard, log_graph, log_lines, query, row

# Containers of this project; `container`, `service` and `level` are labels, all else is a field of the line.
OURS = '{container=~"fintech.*"}'
WEB = '{container="fintech_flask"}'


def logs() -> Dashboard:
    return dashboard(
        "logs",
        "Logs",
        "What the containers said, the alerts that arrived, and what went wrong. A trace id leads to its trace.",
        rows=[overview(), alerts(), trouble(), requests()],
        refresh="30s",
    )


def overview() -> Section:
    return row(
        "How much is said",
        [
            log_graph(
                "Lines by container",
                "Lines a second.",
                query(f"sum by (container) (rate({OURS}[$__interval]))", "{{container}}"),
                unit=PER_SECOND,
            ),
            log_graph(
                "Lines by level",
                "Lines a second. Unknown is a line that does not say.",
                query(f"sum by (level) (rate({OURS}[$__interval]))", "{{level}}"),
                unit=PER_SECOND,
            ),
        ],
    )


def alerts() -> Section:
    return row(
        "Alerts that arrived",
        [
            log_graph(
                "Stored deliveries",
                "Lines `alert_received` a minute: one for every stored delivery and for every change of an episode.",
                query(f"sum(rate({ALERT_LOG} [$__interval])) * 60", "alert_received"),
                unit=PER_MINUTE,
            ),
        ],
        [
            log_lines(
                "The alert trail's lines",
                "One for every stored delivery and for every change of an episode, newest first.",
                ALERT_LOG,
            ),
        ],
    )


def trouble() -> Section:
    return row(
        "What went wrong",
        [
            log_lines(
                "Warnings and errors",
                "Lines of every container of this project that are no mere information, newest first.",
                '{container=~"fintech.*", level=~"warning|error|critical"}',
            ),
        ],
    )


def requests() -> Section:
    return row(
        "Requests",
        [
            log_lines(
                "Requests that were refused or failed",
                "Answers with 4xx and 5xx, newest first.",
                f'{WEB} | json status="status_code" | status =~ "4..|5.."',
            ),
        ],
        [
            log_lines("Everything the web said", "Newest first.", WEB),
        ],
    )
