"""The demo merchant's receiver accepts what an independent implementation signs, and nothing else."""

from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook

from loadtests.webhook_receiver import verify

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"type": "payment.succeeded"}'


def signed(moment: datetime) -> dict[str, str]:
    signature = Webhook(SECRET).sign("id-1", moment, BODY.decode())
    timestamp = str(int(moment.timestamp()))
    return {"webhook-id": "id-1", "webhook-timestamp": timestamp, "webhook-signature": f"v1,other {signature}"}


def test_a_signature_of_the_library_is_accepted():
    assert verify(SECRET, signed(datetime.now(UTC)), BODY)


def test_an_old_webhook_is_refused():
    assert not verify(SECRET, signed(datetime.now(UTC) - timedelta(minutes=6)), BODY)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
@pytest.mark.parametrize("value", [None, "", "7", "v1,é"])
def test_a_missing_or_changed_header_is_refused(name, value):
    headers = {**signed(datetime.now(UTC)), name: value}
    if value is None:
        del headers[name]

    assert not verify(SECRET, headers, BODY)


def test_another_body_is_refused():
    assert not verify(SECRET, signed(datetime.now(UTC)), BODY + b" ")
