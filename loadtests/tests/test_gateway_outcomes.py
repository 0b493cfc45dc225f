"""The effect of each magic amount and each ratio of the profile, over HTTP."""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from http.client import HTTPException
from uuid import uuid4

import pytest

from loadtests.gateway.outcomes import BY_RATIO, MAGIC
from loadtests.gateway.profile import Faults, Profile, WrongProfile
from loadtests.tests.simulator import ROOT, Simulator

pytestmark = pytest.mark.processes

DROPPED = (OSError, HTTPException)
MANUAL = (ROOT / "docs/gateway.md").read_text()

ANSWERED = {
    901: (200, "declined", "insufficient_funds"),
    902: (200, "declined", "do_not_honor"),
    903: (200, "declined", "expired_card"),
    904: (200, "declined", "lost_or_stolen"),
    911: (502, "error", "processing_error"),
    912: (503, "unavailable", "acquirer_unavailable"),
    913: (503, "unavailable", "acquirer_unavailable"),
    923: (200, "approved", None),
    925: (200, "approved", None),
    931: (200, "approved", None),
    999: (200, "approved", None),
    900: (200, "approved", None),
}
NOT_ANSWERED = {921: "not_found", 922: "approved", 924: "not_found"}


def key() -> str:
    return str(uuid4())


@pytest.fixture
def quick(gateway: Simulator) -> Simulator:
    gateway.profile(hold_seconds=0.2)
    return gateway


@pytest.mark.parametrize(("ending", "expected"), ANSWERED.items())
def test_a_charge_ends_as_its_magic_amount_says(quick, ending, expected):
    used = key()

    answer = quick.post_charge(used, 5000 + ending)

    assert (answer.status, answer.body["outcome"], answer.body.get("code")) == expected
    stored = quick.charge(used)["outcome"]
    assert stored == (expected[1] if answer.status == 200 else "not_found")


@pytest.mark.parametrize(("ending", "stored"), NOT_ANSWERED.items())
def test_a_reply_that_never_comes_leaves_what_the_table_says(quick, ending, stored):
    used = key()

    with pytest.raises(DROPPED):
        quick.post_charge(used, 5000 + ending)

    assert quick.charge(used)["outcome"] == stored


@pytest.mark.parametrize(("ending", "expected"), ANSWERED.items())
def test_a_refund_follows_the_same_table(quick, ending, expected):
    charge, refund = key(), key()
    quick.post_charge(charge, 10_000)

    answer = quick.post_refund(refund, charge, 5000 + ending)

    assert (answer.status, answer.body["outcome"], answer.body.get("code")) == expected


@pytest.mark.parametrize(("ending", "stored"), NOT_ANSWERED.items())
def test_a_refund_whose_reply_never_comes_follows_the_same_table(quick, ending, stored):
    charge, refund = key(), key()
    quick.post_charge(charge, 10_000)

    with pytest.raises(DROPPED):
        quick.post_refund(refund, charge, 5000 + ending)

    assert quick.refund(refund)["outcome"] == stored


@pytest.mark.parametrize(("ending", "seconds"), [(921, 0.2), (923, 0.2), (925, 0.2), (931, 1.0)])
def test_a_held_request_ends_no_sooner_than_the_table_says(quick, ending, seconds):
    began = time.monotonic()

    with suppress(*DROPPED):
        quick.post_charge(key(), 5000 + ending)

    assert time.monotonic() - began >= seconds


@pytest.mark.parametrize("ending", sorted(MAGIC.keys() - {921, 923, 925}))
def test_the_other_amounts_are_not_held(gateway, ending):
    gateway.profile(hold_seconds=600)
    began = time.monotonic()

    with suppress(*DROPPED):
        gateway.post_charge(key(), 5000 + ending)

    assert time.monotonic() - began < 20


def test_every_magic_amount_is_tried_here():
    assert MAGIC.keys() == (ANSWERED.keys() | NOT_ANSWERED.keys()) - {900, 999}


def test_the_manual_has_the_same_table_as_the_code():
    rows = re.findall(r"^\| (\d{3}) \| (\w+) \| (\w*) ?\|", MANUAL, re.MULTILINE)

    assert rows == [(str(ending), does.does.value, does.code or "") for ending, does in MAGIC.items()]


def test_the_manual_names_every_field_of_the_profile_with_its_default():
    rows = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", MANUAL, re.MULTILINE))

    assert rows == {name: str(value).lower().replace("none", "null") for name, value in Profile().to_fields().items()}


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed (apt install curl)")
def test_the_command_of_the_manual_changes_the_profile(gateway: Simulator):
    [command] = re.findall(r"^    (curl -X PATCH http://127.0.0.1:5001/.*\n.*)$", MANUAL, re.MULTILINE)

    command = command.replace("http://127.0.0.1:5001", gateway.url)
    environment = os.environ | {"GATEWAY_CONTROL_TOKEN": gateway.control_token}
    answer = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, check=True).stdout

    assert json.loads(answer).items() >= {"error_ratio": 0.1, "latency_ms": 50}.items()


def test_the_program_of_the_compose_manual_changes_the_profile(gateway: Simulator, tmp_path):
    manual = (ROOT / "docs/compose.md").read_text()
    [program] = re.findall(r"^    docker compose exec gateway python -c '\n(.*?)'$", manual, re.MULTILINE | re.DOTALL)
    token = tmp_path / "token"
    token.write_text(f"{gateway.control_token}\n")

    program = program.replace("/run/secrets/gateway_control_token", str(token)).replace(":5001", f":{gateway.port}")
    command = [sys.executable, "-c", textwrap.dedent(program)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert json.loads(answer)["error_ratio"] == 0.1


def test_unavailable_once_is_approved_on_the_second_attempt(quick):
    used = key()

    first, second = quick.post_charge(used, 1913), quick.post_charge(used, 1913)

    assert (first.status, second.status, second.body["outcome"]) == (503, 200, "approved")
    assert not second.replayed


def test_errors_stay_errors_and_never_charge(quick):
    used = key()

    assert [quick.post_charge(used, 1911).status for _ in range(3)] == [502] * 3
    assert quick.charge(used) == {"outcome": "not_found"}


def test_a_lost_reply_is_found_again_by_a_replay(quick):
    used = key()
    with pytest.raises(DROPPED):
        quick.post_charge(used, 1922)

    answer = quick.post_charge(used, 1922)

    assert (answer.status, answer.body["outcome"], answer.replayed) == (200, "approved", True)
    assert answer.body == quick.charge(used)


@pytest.mark.parametrize(
    ("ratio", "status"), [("decline_ratio", 200), ("error_ratio", 502), ("unavailable_ratio", 503)]
)
def test_a_ratio_of_one_hits_every_ordinary_amount(gateway, ratio, status):
    gateway.profile(**{ratio: 1})
    used = key()

    answer = gateway.post_charge(used, 1250)

    assert answer.status == status
    assert answer.body["outcome"] == BY_RATIO[ratio].does.value
    assert gateway.post_charge(key(), 1901).body["code"] == "insufficient_funds"


@pytest.mark.parametrize(
    ("ratio", "stored"),
    [("timeout_ratio", "not_found"), ("lose_reply_ratio", "approved"), ("drop_ratio", "not_found")],
)
def test_a_ratio_can_drop_the_reply(gateway, ratio, stored):
    gateway.profile(**{ratio: 1, "hold_seconds": 0.05})
    used = key()

    with pytest.raises(DROPPED):
        gateway.post_charge(used, 1250)

    assert gateway.charge(used)["outcome"] == stored


def test_a_late_reply_was_charged_before_it_came(gateway):
    gateway.profile(late_reply_ratio=1, hold_seconds=0.1)

    answer = gateway.post_charge(key(), 1250)

    assert answer.body["outcome"] == "approved"


def test_a_seed_repeats_the_draws_and_the_shares_come_out():
    profile = Profile(decline_ratio=0.3, error_ratio=0.1, seed=7)
    one, other = Faults(profile), Faults(profile)

    draws = [one.behaviour(1250) for _ in range(5000)]

    assert draws == [other.behaviour(1250) for _ in range(5000)]
    assert draws.count(BY_RATIO["decline_ratio"]) / 5000 == pytest.approx(0.3, abs=0.03)
    assert draws.count(BY_RATIO["error_ratio"]) / 5000 == pytest.approx(0.1, abs=0.02)


def test_latency_and_jitter_come_before_every_decision():
    faults = Faults(Profile(latency_ms=100, latency_jitter_ms=50, seed=1))

    waits = [faults.seconds_before(faults.behaviour(1250)) for _ in range(1000)]

    assert 0.1 <= min(waits) < 0.105
    assert 0.145 < max(waits) <= 0.15
    assert faults.seconds_before(MAGIC[925]) > 10


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"lantency_ms": 5}, "lantency_ms is not a field of the profile"),
        ({"latency_ms": -1}, "latency_ms must be a number from 0 to 600000."),
        ({"latency_ms": "5"}, "latency_ms must be a number from 0 to 600000."),
        ({"latency_ms": None}, "latency_ms must be a number from 0 to 600000."),
        ({"hold_seconds": 601}, "hold_seconds must be a number from 0 to 600."),
        ({"hold_seconds": 10**400}, "hold_seconds must be a number from 0 to 600."),
        ({"decline_ratio": 1.01}, "decline_ratio must be a number from 0 to 1."),
        ({"error_ratio": True}, "error_ratio must be a number from 0 to 1."),
        ({"drop_ratio": float("nan")}, "drop_ratio must be a number from 0 to 1."),
        ({"drop_ratio": 0.6, "error_ratio": 0.5}, "The sum of decline_ratio"),
        ({"cancel_fails": 1}, "cancel_fails must be true or false."),
        ({"seed": 1.5}, "seed must be a whole number or null."),
        ({"seed": True}, "seed must be a whole number or null."),
    ],
)
def test_a_wrong_profile_is_refused_with_a_sentence(fields, sentence):
    with pytest.raises(WrongProfile, match=re.escape(sentence)):
        Profile.from_fields(fields)


def test_ratios_may_fill_the_whole():
    thirds = {"decline_ratio": 0.7, "error_ratio": 0.1, "drop_ratio": 0.2}

    assert Profile.from_fields(thirds).decline_ratio == 0.7
