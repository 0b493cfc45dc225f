"""Strong customer authentication at the gateway: refusals and endings first, then the customer in a browser."""

import http.client
import re
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

import pytest
from playwright.sync_api import sync_playwright

from fintech.testing.browser import CHROMIUM, FLAGS, needs_chromium
from loadtests.gateway.authentication import OUTCOMES
from loadtests.tests.simulator import ROOT, Answer, Simulator

pytestmark = pytest.mark.processes

CHALLENGED, FRICTIONLESS, EXEMPT = 1941, 1942, 1943
BACK = "https://shop.example/back?order=7"


def order(gateway: Simulator, key: str, amount: int = CHALLENGED, kind: str = "charge", **fields: Any) -> Answer:
    body = {"amount": amount, "currency": "EUR", "return_url": BACK, "challenge": "allowed"} | fields
    return gateway.request("POST", f"/v1/{kind}s", body, key=key)


def visit(url: str, answer: str | None = None) -> tuple[int, str | None]:
    """The page's status and the address that it sends the customer to."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.netloc, timeout=30)
    if answer is None:
        connection.request("GET", place.path)
    else:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", place.path, urlencode({"answer": answer}), form)
    response = connection.getresponse()
    connection.close()
    return response.status, response.getheader("Location")


def challenge(gateway: Simulator, key: str, **fields: Any) -> str:
    answer = order(gateway, key, **fields)
    assert (answer.status, answer.body["outcome"]) == (200, "requires_action"), answer
    return answer.body["challenge"]["url"]


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "ftp://shop.example/",
        "https://",
        "https://a b",
        "https://" + "a" * 2041,
        7,
        ["https://a"],
    ],
)
def test_an_order_with_an_unusable_return_url_is_refused(gateway, url):
    key = str(uuid4())

    assert order(gateway, key, return_url=url).status == 422
    assert gateway.charge(key) == {"outcome": "not_found"}


def test_an_order_that_needs_a_challenge_and_allows_none_is_declined(gateway):
    unsaid = gateway.post_charge(str(uuid4()), CHALLENGED)
    refused = order(gateway, str(uuid4()), challenge="not_allowed")

    for answer in (unsaid, refused):
        assert (answer.body["outcome"], answer.body["code"]) == ("declined", "authentication_required")
        assert "authentication" not in answer.body


@pytest.mark.parametrize("challenge", ["maybe", True, None])
def test_an_order_with_an_unknown_word_about_challenges_is_refused(gateway, challenge):
    assert order(gateway, str(uuid4()), challenge=challenge).status == 422


@pytest.mark.parametrize("amount", [FRICTIONLESS, EXEMPT])
def test_an_order_that_allows_no_challenge_is_not_authenticated(gateway, amount):
    answer = gateway.post_charge(str(uuid4()), amount)

    assert answer.body["outcome"] == "approved"
    assert "authentication" not in answer.body


def test_another_amount_is_not_authenticated(gateway):
    assert "authentication" not in order(gateway, str(uuid4()), 1250).body


def test_the_key_of_an_open_challenge_serves_no_other_order(gateway):
    key = str(uuid4())
    challenge(gateway, key)

    assert order(gateway, key, 2941).body["code"] == "key_reused"
    assert order(gateway, key, currency="USD").body["code"] == "key_reused"


def test_a_replay_without_its_return_url_passes_no_open_challenge(gateway):
    key = str(uuid4())
    challenge(gateway, key)

    assert gateway.post_charge(key, CHALLENGED).body["outcome"] == "requires_action"
    assert gateway.charge(key)["outcome"] == "requires_action"


@pytest.mark.parametrize("answer", ["", "yes", "ACCEPT"])
def test_an_answer_that_the_form_does_not_have_decides_nothing(gateway, answer):
    key = str(uuid4())

    assert visit(challenge(gateway, key), answer) == (400, None)
    assert gateway.charge(key)["outcome"] == "requires_action"


def test_an_unknown_challenge_is_404(gateway):
    url = f"{gateway.url}/3ds/{uuid4().hex}"

    assert visit(url) == visit(url, "accept") == (404, None)


@pytest.mark.parametrize("kind", ["charge", "authorization"])
def test_a_cancelled_order_cannot_be_accepted(gateway, kind):
    key = str(uuid4())
    url = challenge(gateway, key, kind=kind)

    assert gateway.cancel(key, kind).body["outcome"] == "cancelled"
    assert visit(url) == visit(url, "accept") == (410, None)
    answer = order(gateway, key, kind=kind)
    assert (answer.status, answer.body["outcome"]) == (409, "cancelled")


@pytest.mark.parametrize(("first", "second"), [("accept", "refuse"), ("refuse", "accept")])
def test_the_first_answer_counts(gateway, first, second):
    key = str(uuid4())
    url = challenge(gateway, key)

    assert visit(url, first) == (303, BACK)
    decided = gateway.charge(key)
    assert visit(url, second) == (410, None)
    assert gateway.charge(key) == decided
    assert gateway.cancel(key).body["outcome"] in ("already_charged", "already_declined")


def test_a_refused_challenge_declines_the_order(gateway):
    key = str(uuid4())
    visit(challenge(gateway, key), "refuse")

    decided = gateway.charge(key)
    assert (decided["outcome"], decided["code"]) == ("declined", "authentication_failed")
    assert decided["authentication"] == {"outcome": "failed", "liability_shift": "merchant"}


@pytest.mark.parametrize("ends", ["lookup", "replay", "cancel", "page"])
def test_an_abandoned_challenge_ends_with_its_time(gateway, ends):
    key = str(uuid4())
    gateway.profile(challenge_seconds=0)
    url = challenge(gateway, key)

    end = {
        "lookup": lambda: gateway.charge(key),
        "replay": lambda: order(gateway, key),
        "cancel": lambda: gateway.cancel(key),
        "page": lambda: visit(url, "accept"),
    }[ends]
    end()

    decided = gateway.charge(key)
    assert (decided["outcome"], decided["code"]) == ("declined", "authentication_expired")
    assert decided["authentication"] == {"outcome": "abandoned", "liability_shift": "merchant"}


def test_an_abandoned_challenge_can_still_be_accepted_in_its_time(gateway):
    key = str(uuid4())
    url = challenge(gateway, key)

    assert visit(url, "abandon") == (303, BACK)
    assert gateway.charge(key)["outcome"] == "requires_action"
    assert visit(url, "accept") == (303, BACK)
    assert gateway.charge(key)["outcome"] == "approved"


@pytest.mark.parametrize(
    ("amount", "outcome", "liable"), [(FRICTIONLESS, "frictionless", "issuer"), (EXEMPT, "exempt", "merchant")]
)
@pytest.mark.parametrize("kind", ["charge", "authorization"])
def test_an_order_without_a_challenge_says_who_is_liable(gateway, kind, amount, outcome, liable):
    key = str(uuid4())

    answer = order(gateway, key, amount, kind)

    assert answer.body["outcome"] == "approved"
    assert answer.body["authentication"] == {"outcome": outcome, "liability_shift": liable}
    assert order(gateway, key, amount, kind) == (200, answer.body, True)


@pytest.mark.parametrize("ratio", ["lose_reply_ratio", "late_reply_ratio"])
def test_a_caller_that_gets_no_answer_in_time_is_still_asked_for_a_challenge(gateway, ratio):
    key = str(uuid4())
    gateway.profile(**{ratio: 1}, hold_seconds=0)

    with suppress(http.client.RemoteDisconnected):
        order(gateway, key)

    assert gateway.charge(key)["outcome"] == "requires_action"


def test_a_lost_reply_keeps_the_authentication(gateway):
    key = str(uuid4())
    gateway.profile(lose_reply_ratio=1)

    with pytest.raises(http.client.RemoteDisconnected):
        order(gateway, key, FRICTIONLESS)

    assert gateway.charge(key)["authentication"]["outcome"] == "frictionless"


def test_an_open_challenge_survives_a_killed_gateway(own_gateway):
    url = challenge(own_gateway, "k")
    assert own_gateway.totals() == {}

    own_gateway.restart()
    assert order(own_gateway, "k").body["challenge"]["url"] == url
    visit(url, "accept")
    own_gateway.restart()

    assert own_gateway.charge("k")["authentication"] == {"outcome": "authenticated", "liability_shift": "issuer"}
    assert own_gateway.totals()["EUR"]["charged"] == CHALLENGED


def test_the_manual_has_the_same_amounts_as_the_code():
    manual = (ROOT / "docs/gateway.md").read_text()

    assert re.findall(r"^\| `(\d{3})` \| `(\w+)` \|", manual, re.MULTILINE) == [
        (str(ending), outcome) for ending, outcome in OUTCOMES.items()
    ]


@needs_chromium
@pytest.mark.parametrize(("button", "outcome"), [("Refuse", "declined"), ("Accept", "approved")])
def test_a_customer_answers_a_challenge_in_a_browser(gateway, button, outcome):
    key = str(uuid4())
    back = f"{gateway.url}/health"
    url = challenge(gateway, key, return_url=back)

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = chromium.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(url)
        assert "1941 EUR" in page.inner_text("p")
        page.click(f"button:has-text('{button}')")
        page.wait_for_url(back)
        page.goto(url)
        assert "has ended" in page.inner_text("p")
        chromium.close()

    assert gateway.charge(key)["outcome"] == outcome
    assert [complaint for complaint in complaints if "Failed to load resource" not in complaint] == []
