"""The log lines of all processes. Each line is a JSON object; its trace id links to its trace."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from observability.dashboards.documented import ALERT_LOG
from observability.dashboards.kit import PER_MINUTE, PER_SECOND, dashboard, log_graph, log_lines, query, row

# Containers of this project. `container`, `service` and `level` are labels; all other names are fields of the line.
OURS = '{container=~"fintech.*"}'
WEB = '{container="fintech_flask"}'


def logs() -> Dashboard:
    return dashboard(
        "logs",
        "Logs",
        "Log lines of the containers, received alerts, and errors. A trace id links to its trace.",
        rows=[OVERVIEW, ALERTS, TROUBLE, REQUESTS],
        refresh="30s",
    )


OVERVIEW = row(
    "Volume",
    [
        log_graph(
            "Lines by container",
            "Lines per second.",
            query(f"sum by (container) (rate({OURS}[$__interval]))", "{{container}}"),
            unit=PER_SECOND,
        ),
        log_graph(
            "Lines by level",
            "Lines per second. Unknown: the line names no level.",
            query(f"sum by (level) (rate({OURS}[$__interval]))", "{{level}}"),
            unit=PER_SECOND,
        ),
    ],
)


ALERTS = row(
    "Received alerts",
    [
        log_graph(
            "Stored deliveries",
            "Lines `alert_received` per minute: one per stored delivery and per state change of an episode.",
            query(f"sum(rate({ALERT_LOG} [$__interval])) * 60", "alert_received"),
            unit=PER_MINUTE,
        )
    ],
    [
        log_lines(
            "Log lines of the alert trail",
            "One per stored delivery and per state change of an episode, newest first.",
            ALERT_LOG,
        )
    ],
)


TROUBLE = row(
    "Warnings and errors",
    [
        log_lines(
            "Warnings and errors",
            "Lines of all containers of this project from level warning on, newest first.",
            '{container=~"fintech.*", level=~"warning|error|critical"}',
        )
    ],
)


REQUESTS = row(
    "Requests",
    [
        log_lines(
            "Refused or failed requests",
            "Responses with 4xx and 5xx, newest first.",
            f'{WEB} | json status="status_code" | status =~ "4..|5.."',
        )
    ],
    [log_lines("All log lines of the web", "Newest first.", WEB)],
)
