"""The contract of a gateway: the same promises of every implementation, each against its own process."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from loadtests.tests.simulator import FakeStripe, Simulator, running
from payments.gateway.base import Answer, AuthenticationResult, Gateway
from payments.gateway.http_gateway import HttpGateway
from payments.gateway.keys import dispute_key
from payments.gateway.stripe.gateway import StripeGateway
from payments.schemas import PaymentMethod
from payments.tests.authentication.conftest import answer_challenge

pytestmark = pytest.mark.processes

CARD = PaymentMethod("card", token="pm_card_visa")
FILES = [{"name": "receipt.pdf", "sha256": "0" * 64, "size": 7}]
BACK = "https://shop.example/back?order=7"
IMPLEMENTATIONS: dict[str, tuple[type[Simulator], Any]] = {
    "simulator": (Simulator, HttpGateway),
    "stripe": (FakeStripe, StripeGateway),
}


@dataclass
class Acquirer:
    """A gateway's process, and our client of it with a circuit breaker that is closed."""

    process: Simulator
    gateway: Gateway

    def charge(self, amount: int, currency: str = "EUR", *, key: UUID | None = None) -> Answer:
        return self.gateway.charge(key or uuid4(), amount=amount, currency=currency, payment_method=CARD)

    def challenge(self, key: UUID, amount: int = 1941, *, operation: str = "charge") -> Answer:
        """Order a payment whose customer may be challenged."""
        order = getattr(self.gateway, operation)
        return order(key, amount=amount, currency="EUR", payment_method=CARD, return_url=BACK)

    def authorize(self, amount: int) -> "Held":
        key = uuid4()
        answer = self.gateway.authorize(key, amount=amount, currency="EUR", payment_method=CARD)
        if not answer.is_known:
            answer = self.gateway.cancel_authorization(key)
        assert answer.outcome == "approved"
        return Held(self.gateway, key, answer.reference)

    def records(self) -> Iterator[dict[str, Any]]:
        after: Any = 0
        while after is not None:
            page = self.gateway.records(after=after)
            yield from page["records"]
            after = page["next"]

    def moved(self, key: UUID) -> list[tuple[str, int, str]]:
        """Return the money that moved for this operation, or for one that followed it."""
        return [
            (record["kind"], record["amount"], record["currency"])
            for record in self.records()
            if str(key) in (record["key"], record["charge"])
        ]


@dataclass
class Held:
    """A payment that was approved: its later operations name it by our key and by the gateway's reference."""

    gateway: Gateway
    key: UUID
    reference: str | None

    def capture(self, amount: int, *, final: bool = True, key: UUID | None = None) -> Answer:
        return self.gateway.capture(
            key or uuid4(),
            authorization=self.key,
            reference=self.reference,
            amount=amount,
            currency="EUR",
            final=final,
        )

    def void(self, *, key: UUID | None = None) -> Answer:
        return self.gateway.void(key or uuid4(), authorization=self.key, reference=self.reference)

    def refund(self, amount: int, *, key: UUID | None = None) -> Answer:
        return self.gateway.refund(
            key or uuid4(), charge=self.key, reference=self.reference, amount=amount, currency="EUR"
        )

    def cancel_refund(self, key: UUID, amount: int) -> Answer:
        return self.gateway.cancel_refund(key, charge=self.key, reference=self.reference, amount=amount, currency="EUR")


@dataclass
class Disputed:
    """A payment that the bank disputes. Each process names the dispute and its states itself; `name` is its own."""

    acquirer: Acquirer
    payment: Held
    name: str

    @classmethod
    def open(cls, acquirer: Acquirer, payment: Held, **fields: Any) -> "Disputed":
        answer = cls._control(acquirer, "", {"charge": str(payment.key), "fee": 1500, **fields})
        return cls(acquirer, payment, answer.get("dispute") or answer["id"])

    @staticmethod
    def _control(acquirer: Acquirer, path: str, body: object) -> dict[str, Any]:
        token = acquirer.process.control_token
        answer = acquirer.process.request("POST", f"/control/disputes{path}", body, token=token)
        assert answer.status in (200, 201), answer
        return answer.body

    def decide(self, state: str) -> None:
        self._control(self.acquirer, f"/{self.name}", {"state": state})

    @property
    def key(self) -> UUID:
        return UUID(self.name) if isinstance(self.acquirer.gateway, HttpGateway) else dispute_key(self.name)

    @property
    def state(self) -> str:
        found = self.acquirer.process.request("GET", f"/v1/disputes/{self.name}").body
        return found.get("state") or found["status"]

    def submit(self, text: str = "It was delivered.", *, key: UUID | None = None) -> Answer:
        named = {"dispute": self.key, "reference": self.payment.reference}
        return self.acquirer.gateway.submit_evidence(key or uuid4(), **named, text=text, files=FILES)

    def accept(self, *, key: UUID | None = None) -> Answer:
        named = {"dispute": self.key, "reference": self.payment.reference}
        return self.acquirer.gateway.accept_dispute(key or uuid4(), **named)


@pytest.fixture(scope="module", params=IMPLEMENTATIONS)
def acquirer_process(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    process, _ = IMPLEMENTATIONS[request.param]
    directory: Path = tmp_path_factory.mktemp(request.param)
    with running(process(directory / "data.sqlite3")) as started:
        yield started


@pytest.fixture
def acquirer(acquirer_process: Simulator, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Acquirer:
    settings.GATEWAY_TIMEOUT_SECONDS, settings.GATEWAY_DEADLINE_SECONDS = 20, 30
    monkeypatch.setattr("payments.gateway.client.PAUSE_SECONDS", 0.001)
    acquirer_process.profile(hold_seconds=600, cancel_fails=False, lose_reply_ratio=0)
    implementation = next(made for kind, made in IMPLEMENTATIONS.values() if type(acquirer_process) is kind)
    return Acquirer(acquirer_process, implementation(acquirer_process.url, acquirer_process.token))


@pytest.fixture
def paid(acquirer: Acquirer) -> Held:
    key = uuid4()
    return Held(acquirer.gateway, key, acquirer.charge(2000, key=key).reference)


# --- Charges ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "code"),
    [(1901, "insufficient_funds"), (1902, "do_not_honor"), (1903, "expired_card"), (1904, "lost_or_stolen")],
)
def test_a_decline_has_our_code_and_moves_nothing(acquirer, amount, code):
    key = uuid4()

    answer = acquirer.charge(amount, key=key)

    assert (answer.outcome, answer.code, answer.reference) == ("declined", code, None)
    assert acquirer.moved(key) == []


def test_a_failure_at_the_gateway_is_known_to_have_charged_nothing(acquirer):
    key = uuid4()

    answer = acquirer.charge(1911, key=key)

    assert (answer.outcome, answer.code) == ("error", "processing_error")
    assert acquirer.moved(key) == []


def test_an_order_that_is_not_accepted_now_is_tried_again_and_stays_unavailable(acquirer):
    answer = acquirer.charge(1912)

    assert (answer.outcome, answer.code) == ("unavailable", "acquirer_unavailable")
    assert len(answer.exchanges) == 3


def test_an_order_that_is_accepted_at_the_second_attempt_is_charged_once(acquirer):
    key = uuid4()

    answer = acquirer.charge(1913, key=key)

    assert (answer.outcome, len(answer.exchanges)) == ("approved", 2)
    assert acquirer.moved(key) == [("charge", 1913, "EUR")]


@pytest.mark.parametrize(("amount", "currency"), [(1250, "EUR"), (1250, "JPY"), (1250, "KWD"), (500, "ISK")])
def test_a_charge_moves_its_minor_units(acquirer, amount, currency):
    key = uuid4()

    answer = acquirer.charge(amount, currency, key=key)

    assert answer.outcome == "approved"
    assert answer.reference
    assert acquirer.moved(key) == [("charge", amount, currency)]


def test_a_repeated_charge_gets_the_first_answer(acquirer):
    key = uuid4()
    first = acquirer.charge(1250, key=key)

    assert acquirer.charge(1250, key=key).reference == first.reference
    assert acquirer.moved(key) == [("charge", 1250, "EUR")]


def test_a_key_of_another_order_is_refused(acquirer):
    key = uuid4()
    acquirer.charge(1250, key=key)

    answer = acquirer.charge(1300, key=key)

    assert (answer.outcome, answer.code) == ("error", "key_reused")
    assert acquirer.moved(key) == [("charge", 1250, "EUR")]


def test_a_wrong_token_is_an_error_and_charges_nothing(acquirer):
    stranger = type(acquirer.gateway)(acquirer.process.url, "wrong")

    answer = stranger.charge(uuid4(), amount=1250, currency="EUR", payment_method=CARD)

    assert (answer.outcome, answer.code) == ("error", "gateway_refused_our_credentials")


# --- Unknown outcomes ------------------------------------------------------------------------------------------


def test_a_charge_whose_answer_is_lost_is_unknown_until_it_is_found(acquirer):
    key = uuid4()

    assert acquirer.charge(1922, key=key).outcome == "timeout"

    found = acquirer.gateway.cancel_charge(key)
    assert (found.outcome, acquirer.moved(key)) == ("approved", [("charge", 1922, "EUR")])
    assert found.reference


def test_a_charge_that_hangs_is_unknown_until_it_is_cancelled(acquirer, settings):
    key = uuid4()
    settings.GATEWAY_TIMEOUT_SECONDS = settings.GATEWAY_DEADLINE_SECONDS = 0.3

    assert acquirer.charge(1921, key=key).outcome == "timeout"

    settings.GATEWAY_TIMEOUT_SECONDS = settings.GATEWAY_DEADLINE_SECONDS = 20
    assert acquirer.gateway.cancel_charge(key).outcome == "cancelled"
    assert acquirer.moved(key) == []


def test_a_cancelled_charge_that_arrives_late_charges_nothing(acquirer):
    key = uuid4()
    assert acquirer.gateway.cancel_charge(key).outcome == "cancelled"

    assert acquirer.charge(1250, key=key).outcome in ("cancelled", "error")

    assert acquirer.moved(key) == []
    assert acquirer.gateway.cancel_charge(key).outcome == "cancelled"


def test_a_declined_charge_is_found_declined(acquirer):
    key = uuid4()
    acquirer.charge(1901, key=key)

    found = acquirer.gateway.cancel_charge(key)

    assert (found.outcome, found.code) == ("declined", "insufficient_funds")


def test_a_failed_charge_ends_at_a_cancel(acquirer):
    key = uuid4()
    acquirer.charge(1911, key=key)

    assert acquirer.gateway.cancel_charge(key).outcome == "cancelled"
    assert acquirer.moved(key) == []


def test_a_lookup_that_fails_leaves_the_outcome_unknown(acquirer):
    key = uuid4()
    acquirer.charge(1922, key=key)
    acquirer.process.profile(cancel_fails=True)

    assert acquirer.gateway.cancel_charge(key).outcome in ("timeout", "unavailable")

    acquirer.process.profile(cancel_fails=False)
    assert acquirer.gateway.cancel_charge(key).outcome == "approved"


def test_a_gateway_that_does_not_run_is_not_reached(acquirer):
    acquirer.process.kill()
    try:
        answer = acquirer.charge(1250)
    finally:
        acquirer.process.start()

    assert (answer.outcome, answer.code) == ("unavailable", "not_reached")


def test_a_charge_is_found_after_the_gateway_was_killed(acquirer):
    key = uuid4()
    acquirer.charge(1922, key=key)
    acquirer.process.restart()

    assert acquirer.gateway.cancel_charge(key).outcome == "approved"


# --- Authorizations --------------------------------------------------------------------------------------------


def test_captures_take_parts_and_the_final_one_releases_the_rest(acquirer):
    held = acquirer.authorize(3000)
    assert acquirer.moved(held.key) == []

    assert held.capture(1000, final=False).outcome == "approved"
    assert held.capture(500).outcome == "approved"

    assert held.capture(100).outcome == "declined"
    assert sorted(acquirer.moved(held.key)) == [("capture", 500, "EUR"), ("capture", 1000, "EUR")]


def test_a_capture_of_more_than_is_held_is_declined(acquirer):
    held = acquirer.authorize(3000)

    answer = held.capture(3001)

    assert (answer.outcome, answer.code) == ("declined", "exceeds_authorization")
    assert acquirer.moved(held.key) == []


def test_a_voided_authorization_cannot_be_captured(acquirer):
    held = acquirer.authorize(3000)

    assert held.void().outcome == "approved"

    assert held.capture(100).outcome == "declined"
    assert held.void().outcome in ("declined", "approved")  # "approved": nothing is held any more
    assert acquirer.moved(held.key) == []


def test_a_void_after_a_capture_releases_the_rest(acquirer):
    held = acquirer.authorize(3000)
    held.capture(1000, final=False)

    assert held.void().outcome == "approved"

    assert held.capture(100).outcome == "declined"
    assert acquirer.moved(held.key) == [("capture", 1000, "EUR")]


def test_a_capture_whose_answer_is_lost_is_found(acquirer):
    held, key = acquirer.authorize(3000), uuid4()

    assert held.capture(1922, key=key).outcome == "timeout"

    assert acquirer.gateway.cancel_capture(key, reference=held.reference).outcome == "approved"
    assert acquirer.moved(key) == [("capture", 1922, "EUR")]


def test_a_cancelled_capture_that_arrives_late_captures_nothing(acquirer):
    held, key = acquirer.authorize(3000), uuid4()
    assert held.capture(1924, key=key).outcome == "timeout"

    assert acquirer.gateway.cancel_capture(key, reference=held.reference).outcome == "cancelled"

    assert held.capture(1925, key=key).outcome in ("cancelled", "error")
    assert acquirer.moved(held.key) == []


def test_a_void_whose_answer_is_lost_is_found(acquirer):
    held, key = acquirer.authorize(1922), uuid4()

    assert held.void(key=key).outcome == "timeout"

    assert acquirer.gateway.cancel_void(key, reference=held.reference).outcome == "approved"
    assert held.capture(100).outcome == "declined"


# --- Disputes --------------------------------------------------------------------------------------------------


def test_a_dispute_takes_its_amount_and_the_fee_and_gives_back_the_amount_once_won(acquirer, paid):
    dispute = Disputed.open(acquirer, paid)
    assert sorted(acquirer.moved(paid.key)) == [("charge", 2000, "EUR"), ("dispute", 3500, "EUR")]
    dispute.submit()

    dispute.decide("won")

    assert sorted(acquirer.moved(dispute.key)) == [("dispute", 3500, "EUR"), ("dispute_return", 2000, "EUR")]


def test_evidence_is_taken_once(acquirer, paid):
    dispute, key = Disputed.open(acquirer, paid), uuid4()

    assert [dispute.submit(key=key).outcome for _ in range(2)] == ["approved", "approved"]

    assert dispute.state == "under_review"
    again = dispute.submit("Another text.")
    assert (again.outcome, again.code) == ("declined", "not_awaiting_response")


def test_an_accepted_dispute_is_lost(acquirer, paid):
    dispute, key = Disputed.open(acquirer, paid), uuid4()

    assert [dispute.accept(key=key).outcome for _ in range(2)] == ["approved", "approved"]

    assert dispute.state == "lost"
    assert (dispute.submit().code, dispute.accept().code) == ("not_awaiting_response", "not_awaiting_response")
    assert acquirer.moved(dispute.key) == [("dispute", 3500, "EUR")]


def test_a_response_to_an_unknown_dispute_is_not_taken(acquirer, paid):
    unknown = {"dispute": uuid4(), "reference": paid.reference}

    assert acquirer.gateway.accept_dispute(uuid4(), **unknown).outcome == "timeout"


def test_a_disputed_payment_is_not_refunded(acquirer, paid):
    Disputed.open(acquirer, paid)

    refused = paid.refund(100)

    assert (refused.outcome, refused.code) == ("declined", "charge_disputed")


# --- 3-D Secure ------------------------------------------------------------------------------------------------


def test_a_challenged_charge_waits_until_the_customer_accepts(acquirer):
    key = uuid4()

    asked = acquirer.challenge(key)

    assert (asked.outcome, asked.code) == ("requires_action", None)
    assert asked.challenge.expires_at > timezone.now()
    assert acquirer.gateway.find_charge(key, reference=asked.reference).challenge == asked.challenge
    assert acquirer.moved(key) == []

    assert answer_challenge(asked.challenge.url, "accept") == 303
    found = acquirer.gateway.find_charge(key, reference=asked.reference)
    assert (found.outcome, found.authentication) == ("approved", AuthenticationResult("authenticated", "issuer"))
    assert acquirer.moved(key) == [("charge", 1941, "EUR")]
    assert answer_challenge(asked.challenge.url, "refuse") == 410


def test_a_repeated_order_gets_the_same_challenge(acquirer):
    key = uuid4()

    first, second = acquirer.challenge(key), acquirer.challenge(key)

    assert (second.challenge, second.reference) == (first.challenge, first.reference)


def test_a_refused_challenge_declines_the_charge(acquirer):
    key = uuid4()
    asked = acquirer.challenge(key)
    answer_challenge(asked.challenge.url, "refuse")

    found = acquirer.gateway.find_charge(key, reference=asked.reference)

    assert (found.outcome, found.code) == ("declined", "authentication_failed")
    assert found.authentication in (None, AuthenticationResult("failed", "merchant"))
    assert acquirer.moved(key) == []


def test_an_abandoned_challenge_stays_open_until_it_is_cancelled(acquirer):
    key = uuid4()
    asked = acquirer.challenge(key)
    assert answer_challenge(asked.challenge.url, "abandon") == 303
    assert acquirer.gateway.find_charge(key, reference=asked.reference).outcome == "requires_action"

    assert acquirer.gateway.cancel_charge(key, reference=asked.reference).outcome == "cancelled"

    assert answer_challenge(asked.challenge.url, "accept") == 410
    assert acquirer.gateway.find_charge(key, reference=asked.reference).outcome == "cancelled"
    assert acquirer.moved(key) == []


@pytest.mark.parametrize("operation", ["charge", "authorize"])
def test_a_cancel_after_the_customer_accepted_changes_nothing(acquirer, operation):
    key = uuid4()
    asked = acquirer.challenge(key, operation=operation)
    answer_challenge(asked.challenge.url, "accept")

    cancel = acquirer.gateway.cancel_charge if operation == "charge" else acquirer.gateway.cancel_authorization
    answer = cancel(key, reference=asked.reference)

    assert (answer.outcome, answer.authentication) == ("approved", AuthenticationResult("authenticated", "issuer"))
    if operation == "authorize":
        assert Held(acquirer.gateway, key, answer.reference).capture(1941).outcome == "approved"
    assert [amount for _, amount, _ in acquirer.moved(key)] == [1941]


@pytest.mark.parametrize("answer", ["accept", "refuse"])
def test_a_challenged_authorization_is_found(acquirer, answer):
    key = uuid4()
    asked = acquirer.challenge(key, operation="authorize")
    answer_challenge(asked.challenge.url, answer)

    found = acquirer.gateway.find_authorization(key, reference=asked.reference)

    assert found.outcome == ("approved" if answer == "accept" else "declined")
    assert acquirer.moved(key) == []


def test_a_challenge_whose_answer_is_lost_ends_with_a_cancel(acquirer):
    key = uuid4()
    acquirer.process.profile(lose_reply_ratio=1)
    assert acquirer.challenge(key).outcome == "timeout"
    acquirer.process.profile(lose_reply_ratio=0)

    assert acquirer.gateway.cancel_charge(key).outcome == "cancelled"

    assert acquirer.challenge(key).outcome != "approved"
    assert acquirer.moved(key) == []


@pytest.mark.parametrize(
    ("amount", "result"),
    [(1942, AuthenticationResult("frictionless", "issuer")), (1943, AuthenticationResult("exempt", "merchant"))],
)
def test_a_payment_may_be_authenticated_without_a_challenge(acquirer, amount, result):
    key = uuid4()

    answer = acquirer.challenge(key, amount)

    assert (answer.outcome, answer.authentication) == ("approved", result)
    assert acquirer.moved(key) == [("charge", amount, "EUR")]


@pytest.mark.parametrize("amount", [1941, 1942, 1943])
def test_without_a_return_url_nothing_is_authenticated(acquirer, amount):
    answer = acquirer.charge(amount)

    wanted = ("declined", "authentication_required") if amount == 1941 else ("approved", None)
    assert (answer.outcome, answer.code, answer.authentication) == (*wanted, None)


def test_a_challenge_stays_open_while_the_lookup_fails(acquirer):
    key = uuid4()
    asked = acquirer.challenge(key)
    answer_challenge(asked.challenge.url, "accept")
    acquirer.process.profile(cancel_fails=True)

    for ask in (acquirer.gateway.find_charge, acquirer.gateway.cancel_charge):
        assert ask(key, reference=asked.reference).outcome in ("timeout", "unavailable")

    acquirer.process.profile(cancel_fails=False)
    assert acquirer.gateway.find_charge(key, reference=asked.reference).outcome == "approved"


# --- Refunds ---------------------------------------------------------------------------------------------------


def test_refunds_give_back_parts_and_never_more_than_the_charge(acquirer, paid):
    assert paid.refund(1500).outcome == "approved"

    refused = paid.refund(501)

    assert (refused.outcome, refused.code) == ("declined", "exceeds_charge")
    assert sorted(acquirer.moved(paid.key)) == [("charge", 2000, "EUR"), ("refund", 1500, "EUR")]


def test_a_repeated_refund_is_given_once(acquirer, paid):
    key = uuid4()

    assert paid.refund(500, key=key).reference == paid.refund(500, key=key).reference
    assert acquirer.moved(key) == [("refund", 500, "EUR")]


def test_a_refund_whose_answer_is_lost_is_found(acquirer, paid):
    key = uuid4()

    assert paid.refund(922, key=key).outcome == "timeout"

    assert paid.cancel_refund(key, 922).outcome == "approved"
    assert acquirer.moved(key) == [("refund", 922, "EUR")]


def test_a_refund_that_was_refused_and_whose_answer_is_lost_is_settled(acquirer, paid):
    key = uuid4()
    acquirer.process.profile(lose_reply_ratio=1)
    assert paid.refund(2001, key=key).outcome in ("timeout", "declined")
    acquirer.process.profile(lose_reply_ratio=0)

    found = paid.cancel_refund(key, 2001)

    assert (found.outcome, found.code) == ("declined", "exceeds_charge")
    assert acquirer.moved(paid.key) == [("charge", 2000, "EUR")]


def test_a_cancelled_refund_that_arrives_late_gives_nothing_back(acquirer, paid):
    key = uuid4()
    assert paid.refund(924, key=key).outcome == "timeout"

    assert paid.cancel_refund(key, 924).outcome == "cancelled"

    assert paid.refund(925, key=key).outcome in ("cancelled", "error")
    assert acquirer.moved(key) == []
