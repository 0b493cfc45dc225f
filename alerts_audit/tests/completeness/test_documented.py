"""docs/alert-completeness.md names what there is: metrics, reasons, settings and commands."""

import re
from pathlib import Path

from django.conf import settings
from django.core.management import get_commands
from prometheus_client import CollectorRegistry

from alerts_audit.completeness.heartbeat import Heartbeats
from alerts_audit.models import Gap, Source
from alerts_audit.worker.metrics import TrailCollector
from fintech.jobs import Leader

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = (ROOT / "docs" / "alert-completeness.md").read_text(encoding="utf-8")


def test_the_document_lists_exactly_the_metrics_of_the_trail():
    leader = Leader()
    leader.leading = True
    collector = TrailCollector(leader, Heartbeats())
    collector.refresh()
    registry = CollectorRegistry()
    registry.register(collector)
    exported = {f"{family.name}_total" if family.type == "counter" else family.name for family in registry.collect()}
    table = DOCUMENT.partition("## Metrics of the worker")[2].partition("## ")[0]
    documented = {name for row in re.findall(r"^\| (`.*?) \|", table, re.M) for name in re.findall("`([a-z_]+)`", row)}

    assert documented == exported | {"alert_poll_errors_total"}


def test_the_document_lists_every_reason():
    documented = set(re.findall(r"^\| `([a-z]+)` \|", DOCUMENT.partition("## How it compares")[0], re.M))

    assert documented == set(Gap.Reason.values)


def test_every_setting_and_command_that_is_named_exists():
    for name in re.findall(r"`([A-Z]+_[A-Z_]+)`", DOCUMENT):
        assert hasattr(settings, name.removesuffix("_FILE")), name
    for command in re.findall(r"manage\.py (\w+)", DOCUMENT):
        assert command in get_commands()


def test_its_numbers_are_those_of_the_code():
    assert f"({Source._meta.get_field('heartbeat_seconds').default} seconds)" in DOCUMENT
    assert f"`{Source._meta.get_field('heartbeat_alert').default}` always fires" in DOCUMENT


def test_every_link_of_the_document_leads_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", DOCUMENT):
        assert (ROOT / "docs" / target).exists(), target
