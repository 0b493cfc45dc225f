"""The web dies in the middle of an authorization, a capture or a void: each is settled once, as the gateway has it."""

import os
import signal

import pytest

from fintech.testing.processes import wait_until
from payments.models import Capture, Void
from payments.tests.authorizations.conftest import Holder
from payments.tests.crash.conftest import at_both
from payments.tests.crash.test_crash import platform, scene  # noqa: F401 - its fixtures

pytestmark = [pytest.mark.processes, at_both]


def test_killed_in_the_middle_of_an_authorization(scene):  # noqa: F811
    asked = scene.ask(scene.client.pay, 1923, capture=False)  # approved at once, answered late
    key = str(scene.payment.gateway_key)
    wait_until(lambda: scene.gateway.outcome("authorization", key) == "approved", what="the gateway has approved")
    os.kill(scene.web(), signal.SIGKILL)

    assert asked.result(10) is None
    scene.ends_right()
    assert scene.payment.status == "authorized"


@pytest.mark.parametrize(
    ("operation", "model", "status"), [("capture", Capture, "succeeded"), ("void", Void, "voided")]
)
def test_killed_in_the_middle_of_a_capture_or_void(scene, operation, model, status):  # noqa: F811
    holder = Holder(scene.client)
    payment = holder.authorize(1250)
    scene.gateway.profile(late_reply_ratio=1)
    asked = scene.ask(getattr(holder, operation), payment)
    scene.wait_until_the_gateway_has_done(model, payment)
    os.kill(scene.web(), signal.SIGKILL)

    assert asked.result(10) is None
    scene.gateway.profile(late_reply_ratio=0)
    scene.ends_right()
    assert scene.payment.status == status
