"""Faults of the alert trail and of the way to it."""

import os
import signal

from fintech.testing.processes import request, wait_until
from loadtests.drill.lab import ALWAYS, RECORD, Drill, post_without_token

WRONG_SETTING = "not_a_setting: 1\n"
GAP_SECONDS = 30


def post_garbage(drill: Drill) -> None:
    headers = {"Authorization": f"Bearer {os.environ['ALERT_TOKEN']}"}
    assert request(drill.own.platform.port, "POST", "/alert", b"not JSON", headers=headers).status == 200


def tamper(drill: Drill) -> None:
    """Change the first byte of the first delivery, as a superuser with disabled triggers."""
    statement = "UPDATE alerts_audit_delivery SET body = set_byte(body, 0, 32) WHERE id = 1"
    drill.execute("SET session_replication_role = replica", statement)


def refuse_deliveries(drill: Drill) -> None:
    """Let the web store no delivery, and let Alertmanager send one now: the next heartbeat may be minutes later."""
    drill.execute("REVOKE INSERT ON alerts_audit_delivery FROM app")
    alert = {"labels": {"alertname": RECORD, "severity": "none"}}
    assert request(drill.monitoring.alertmanager, "POST", "/api/v2/alerts", [alert]).status == 200


# --- Alertmanager ------------------------------------------------------------------------------------------------


def change_alertmanager(drill: Drill, old: str, new: str) -> None:
    """Change its configuration and let it reload."""
    path = drill.monitoring.configuration / "alertmanager.yml"
    text = path.read_text()
    assert text.count(old) == 1, f"{old} is not once in {path}"
    path.write_text(text.replace(old, new))
    drill.monitoring.programs["alertmanager"].process.send_signal(signal.SIGHUP)


def break_configuration(drill: Drill) -> None:
    """Break Alertmanager's. Prometheus 2.42 drops alerts at a reload, until it finds its Alertmanagers again."""
    change_alertmanager(drill, "\nreceivers:\n", f"\n{WRONG_SETTING}receivers:\n")


def mend_configuration(drill: Drill) -> None:
    change_alertmanager(drill, WRONG_SETTING, "")


def silence_heartbeat(drill: Drill) -> None:
    matcher = {"name": "alertname", "value": ALWAYS, "isRegex": False}
    times = {"startsAt": "2020-01-01T00:00:00Z", "endsAt": "2099-01-01T00:00:00Z"}
    silence = {"matchers": [matcher], **times, "createdBy": "drill", "comment": "a drill"}
    assert request(drill.monitoring.alertmanager, "POST", "/api/v2/silences", silence).status == 200


def end_silence(drill: Drill) -> None:
    for silence in request(drill.monitoring.alertmanager, "GET", "/api/v2/silences").body:
        if silence["createdBy"] == "drill":
            request(drill.monitoring.alertmanager, "DELETE", f"/api/v2/silence/{silence['id']}")


FIRST_ROUTE = '    - matchers: [alertname = "Watchdog"]\n'
SWALLOW = '    - matchers: [alertname = "WebhookUnauthorized"]\n      receiver: ticket\n'


def swallow_an_alert(drill: Drill) -> None:
    """Route an alert past the trail, and let it fire."""
    change_alertmanager(drill, FIRST_ROUTE, SWALLOW + FIRST_ROUTE)
    post_without_token(drill)


def deliver_again(drill: Drill) -> None:
    """Restore the routes. The alert is over and never arrives, so a person closes its gap."""
    change_alertmanager(drill, SWALLOW, "")
    opened = "SELECT gap_id FROM alerts_audit_opengap WHERE reason = 'outage'"
    # A worker that is late is the reason to repeat the drill.
    [(gap,)] = wait_until(lambda: drill.own.query(opened), GAP_SECONDS, "the alert is a gap", interval=0.5)
    code, printed = drill.own.manage("close_gap", str(gap), "--by=drill", "--note=The route was wrong.")
    assert code == 0, printed
