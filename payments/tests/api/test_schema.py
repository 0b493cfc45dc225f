"""schemathesis against the running service and its own document: valid requests, and others."""

import uuid
from pathlib import Path

import pytest

from fintech.http import pagination
from fintech.testing.document import EVERYTHING, SYSTEMATIC, check_document
from fintech.testing.processes import Platform
from payments.api.transaction_pages import write_cursor
from payments.models import Merchant
from payments.tests.conftest import Client

pytestmark = pytest.mark.processes

HERE = Path(__file__).parent


HOOKS = {
    "SCHEMATHESIS_HOOKS": "schemathesis_hooks",
    "PYTHONPATH": str(HERE),
    "RETURN_URL": "https://shop.example/back",
    "CURSOR": write_cursor(uuid.uuid4()),
    "EVENT_CURSOR": pagination.write_cursor("events", uuid.uuid4()),
}
WEBHOOKS = "^/v1/(events|webhook-endpoints)"
# The trail's paths take a token of another kind: alerts_audit/tests/api/test_schema.py.
OTHERS = f"^/v1/alerts/|{WEBHOOKS}"


def check(platform: Platform, client: Client, *choice: str, phases: str) -> int:
    config = HERE / "schemathesis.toml"
    Merchant.objects.filter(pk=client.merchant.pk).update(return_hosts=["shop.example"])
    return check_document(platform, config, client.api_key, *choice, phases=phases, examples=10, env=HOOKS)


def test_the_service_does_what_its_document_says(platform, client):
    assert check(platform, client, "--exclude-path-regex", "^/v1/alerts/", phases=SYSTEMATIC) > 700


@pytest.mark.slow
@pytest.mark.parametrize(
    ("choice", "least"),
    [
        (("--exclude-path-regex", OTHERS), 1000),
        (("--include-path-regex", WEBHOOKS), 300),
    ],
)
def test_the_service_does_what_its_document_says_whatever_the_requests(platform, client, choice, least):
    assert check(platform, client, *choice, phases=EVERYTHING) > least
