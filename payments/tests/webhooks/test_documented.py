"""The examples of docs/webhooks.md verify our signatures, and refuse everything else."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from fintech.secret_files import webhook_secret
from payments.webhooks.signing import sign

DOCUMENT = (Path(__file__).resolve().parents[3] / "docs" / "webhooks.md").read_text()
BODY = '{"type": "payment.succeeded", "data": {"description": "Grüße"}}'.encode()
pytestmark = pytest.mark.processes

NODE = shutil.which("node")

Verify = Callable[[str, dict[str, str], bytes], bool]


def example(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)
    return found


def in_python(secret: str, headers: dict[str, str], body: bytes) -> bool:
    names: dict[str, Verify] = {}
    exec(example("python"), names)
    return names["verify"](secret, headers, body)


def in_node(secret: str, headers: dict[str, str], body: bytes) -> bool:
    assert NODE is not None
    values = json.dumps([secret, headers, body.decode()])
    program = f"{example('javascript')}\nconst [s, h, b] = {values};\nconsole.log(verify(s, h, Buffer.from(b)));"
    done = subprocess.run([NODE, "-e", program], capture_output=True, text=True, timeout=30, check=True)
    return {"true\n": True, "false\n": False}[done.stdout]


def by_the_library(secret: str, headers: dict[str, str], body: bytes) -> bool:
    try:
        Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


with_node = pytest.mark.skipif(NODE is None, reason="Node is not installed, so its example cannot be run")


@pytest.fixture(params=[in_python, pytest.param(in_node, marks=with_node), by_the_library])
def verify(request: pytest.FixtureRequest) -> Verify:
    return request.param


def test_our_signature_is_accepted(verify):
    secret = webhook_secret()

    assert verify(secret, sign([secret], "id-1", datetime.now(UTC), BODY), BODY)


def test_in_a_rotation_both_secrets_verify(verify):
    former, newer = webhook_secret(), webhook_secret()
    headers = sign([newer, former], "id-1", datetime.now(UTC), BODY)

    assert verify(former, headers, BODY)
    assert verify(newer, headers, BODY)


def test_another_secret_is_refused(verify):
    assert not verify(webhook_secret(), sign([webhook_secret()], "id-1", datetime.now(UTC), BODY), BODY)


@pytest.mark.parametrize("change", ["body", "id", "time"])
def test_a_changed_request_is_refused(verify, change):
    secret, now = webhook_secret(), datetime.now(UTC)
    headers = sign([secret], "id-1", now, BODY)
    if change == "id":
        headers["webhook-id"] = "id-2"
    if change == "time":
        headers["webhook-timestamp"] = str(int(now.timestamp()) + 1)

    assert not verify(secret, headers, BODY.replace(b"data", b"date") if change == "body" else BODY)


def test_an_old_request_is_refused(verify):
    secret = webhook_secret()

    assert not verify(secret, sign([secret], "id-1", datetime.now(UTC) - timedelta(minutes=6), BODY), BODY)
