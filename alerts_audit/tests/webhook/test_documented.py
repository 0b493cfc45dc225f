"""docs/alerts.md names every answer, error code and outcome of the webhook, and no other."""

import re
from pathlib import Path

from prometheus_client import REGISTRY

from alerts_audit.management.commands.alert_source import Command
from alerts_audit.sources import metrics
from alerts_audit.sources.tokens import CACHE_SECONDS, UNKNOWN_SECONDS
from alerts_audit.webhook import request_body
from fintech.server.connections import BODY_SECONDS, STALL_SECONDS, TOO_LONG
from fintech.server.worker_class import MALFORMED, REFUSALS

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = (ROOT / "docs" / "alerts.md").read_text()
WEBHOOK = DOCUMENT[DOCUMENT.index("## The webhook") : DOCUMENT.index("## Sources and tokens")]
CODE = (ROOT / "alerts_audit" / "webhook" / "views.py").read_text()


def test_every_status_is_documented():
    in_code = set(re.findall(r"(?:refuse\(\"\w+\", |problem\()(\d{3})", CODE)) | {"200"}
    servers = {str(status) for status, _, _ in (*REFUSALS.values(), MALFORMED, TOO_LONG)}
    rows = re.findall(r"^\| (\d{3}[^|]*)\|", WEBHOOK, re.MULTILINE)

    assert {status for row in rows for status in re.findall(r"\b[1-5]\d\d\b", row)} == in_code | servers


def test_every_error_code_is_documented():
    in_code = {f"alert_{outcome}" for outcome in re.findall(r"refuse\(\"(\w+)\"", CODE)} | {"method_not_allowed"}
    servers = {code for _, code, _ in (*REFUSALS.values(), MALFORMED, TOO_LONG)} | {"repeated_header"}
    sentences = re.search(r"stable `code`:(.*?);", WEBHOOK, re.DOTALL)

    assert sentences is not None
    assert set(re.findall(r"`(\w+)`", sentences[1])) == in_code | servers


def test_every_outcome_and_status_is_documented():
    exported = {
        sample.labels[label]
        for metric in REGISTRY.collect()
        for sample in metric.samples
        for name, label in (("alert_deliveries_total", "outcome"), ("alerts_received_total", "status"))
        if sample.name == name
    }
    rows = [line for line in WEBHOOK.splitlines() if line.startswith(("| `alert_deliveries", "| `alerts_received"))]

    assert {word for row in rows for word in re.findall(r"`(\w+)`", row.split("|")[2])} == exported
    assert set(metrics.STATUSES) <= exported


def test_every_action_of_the_command_is_documented():
    parser = Command().create_parser("manage.py", "alert_source")
    actions = set(re.findall(r"^ +(\w+) +\S", parser.format_help().partition("positional")[2], re.MULTILINE))

    assert set(re.findall(r"manage\.py alert_source (\w+)", DOCUMENT)) == {"add", "list", "rotate", "revoke"} <= actions


def test_the_numbers_are_those_of_the_code():
    assert request_body.LIMIT == 16 * 2**20
    assert f"stall for {STALL_SECONDS:g} seconds, and take {BODY_SECONDS:g} seconds" in WEBHOOK
    assert CACHE_SECONDS < 5
    assert UNKNOWN_SECONDS == 0.05
