"""Fixtures of the state machine, for either gateway."""

from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import pytest
from django.test import override_settings

from fintech.telemetry import metric_slots as slots
from payments import metrics
from payments.gateway.http_gateway import HttpGateway
from payments.gateway.registry import gateways
from payments.storage.group_commit import writer
from payments.tests.services.acquirers import AtSimulator, AtStripe


@pytest.fixture
def impatient_gateways(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("payments.gateway.client.PAUSE_SECONDS", 0.001)
    for name in (AtSimulator.name, AtStripe.name):
        monkeypatch.setitem(gateways.made, name, HttpGateway("http://127.0.0.1:1", "", name=name))
    with override_settings(GATEWAY_TIMEOUT_SECONDS=0.06, BATCH_DEADLINE_SECONDS=0.5, STRIPE_WEBHOOK_SECRET="whsec_x"):
        yield


@pytest.fixture
def epoch_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Other tests tamper with their payments on purpose: those are not these counters' to hold."""
    own = replace(slots.slot(), epoch=uuid4())
    monkeypatch.setattr(slots, "slot", lambda: own)
    monkeypatch.setattr(writer, "_writer_id", None)
    writer.disconnect()
    metrics.AMOUNT.clear()
    writer.restore_counters()
    yield
    writer.disconnect()
