"""schemathesis against the running service and its own document: 1,500 requests, valid and not."""

import uuid
from pathlib import Path

import pytest

from fintech.http import pagination
from fintech.testing.document import check_document
from payments.api.transaction_pages import write_cursor
from payments.models import Merchant

pytestmark = pytest.mark.processes

HERE = Path(__file__).parent


HOOKS = {
    "SCHEMATHESIS_HOOKS": "schemathesis_hooks",
    "PYTHONPATH": str(HERE),
    "RETURN_URL": "https://shop.example/back",
    "CURSOR": write_cursor(uuid.uuid4()),
    "EVENT_CURSOR": pagination.write_cursor("events", uuid.uuid4()),
    "DELIVERY_CURSOR": pagination.write_cursor("webhook deliveries", 1),
}
WEBHOOKS = "^/v1/(events|webhook-endpoints)"
# The trail's paths take a token of another kind: alerts_audit/tests/api/test_schema.py.
OTHERS = f"^/v1/alerts/|{WEBHOOKS}"


@pytest.mark.parametrize(
    ("choice", "least"),
    [
        (("--exclude-path-regex", OTHERS), 1000),
        (("--include-path-regex", WEBHOOKS), 300),
    ],
)
def test_the_service_does_what_its_document_says(platform, client, choice, least):
    config = HERE / "schemathesis.toml"
    Merchant.objects.filter(pk=client.merchant.pk).update(return_hosts=["shop.example"])

    assert check_document(platform, config, client.api_key, *choice, examples=10, env=HOOKS) > least
