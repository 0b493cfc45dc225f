"""The gateway `stripe`: our operations as requests to Stripe."""

from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID, uuid4

from django.conf import settings

from payments.gateway.base import Answer
from payments.gateway.client import HttpClient
from payments.gateway.stripe import answers, requests
from payments.gateway.stripe.amounts import to_stripe
from payments.gateway.stripe.authentication import three_d_secure_of
from payments.gateway.stripe.disputes import dispute_finder, read_response, response_of
from payments.gateway.stripe.records import RECORDS


class StripeGateway(HttpClient):
    content_type = "application/x-www-form-urlencoded"
    max_answer_bytes = 1024 * 1024  # a page of refunds; the journal keeps a summary

    def __init__(self, url: str, api_key: str, *, name: str = "stripe") -> None:
        super().__init__(url, api_key, name=name)
        self._headers["Stripe-Version"] = requests.VERSION

    def encode(self, body: dict[str, Any]) -> bytes:
        return urlencode(body).encode()

    def journal(self, content: Any) -> Any:
        """Return what happened, without the client's secret and the card."""
        found = answers.object_of(content)
        if not isinstance(content, dict) or not (found or isinstance(content.get("error"), dict)):
            return None
        names = ("id", "object", "status", "amount", "amount_received", "currency", "payment_intent")
        error = content.get("error") or found.get("last_payment_error") or {}
        kept = {name: found.get(name) for name in names if name in found}
        kept |= {name: error[name] for name in ("type", "code", "decline_code") if error.get(name)}
        authentication = {
            name: value for name in requests.THREE_D_SECURE if (value := three_d_secure_of(found).get(name))
        }
        return kept | ({"three_d_secure": authentication} if authentication else {})

    # --- Operations --------------------------------------------------------------------------------------------

    def charge(
        self, key: UUID, *, amount: int, currency: str, payment_method: Any, return_url: str | None = None
    ) -> Answer:
        return self._pay("charge", key, (amount, currency), payment_method, return_url)

    def authorize(
        self, key: UUID, *, amount: int, currency: str, payment_method: Any, return_url: str | None = None
    ) -> Answer:
        return self._pay("authorize", key, (amount, currency), payment_method, return_url)

    @requests.or_not_sent
    def _pay(
        self, operation: str, key: UUID, money: tuple[int, str], payment_method: Any, return_url: str | None
    ) -> Answer:
        amount, currency = money
        token = getattr(payment_method, "token", None)
        if not token:
            raise requests.NotSent("payment_method_missing")
        wanted = to_stripe(amount, currency)
        body = {
            "amount": wanted,
            "currency": currency.lower(),
            "payment_method": token,
            "payment_method_types[]": "card",
            "capture_method": "automatic" if operation == "charge" else "manual",
            "confirm": "true",
            "metadata[key]": str(key),
            "metadata[operation]": operation,
        }
        if return_url is None:
            body["error_on_requires_action"] = "true"
        else:
            body |= {"return_url": return_url, "metadata[challenge]": "allowed", "expand[]": "latest_charge"}

        def read(status_code: int, content: Any) -> Answer:
            challenged = return_url is not None
            return answers.read_payment(status_code, content, amount=wanted, currency=currency, challenged=challenged)

        return self._call(operation, requests.INTENTS, key, body, read)

    def find_charge(self, key: UUID, *, reference: str | None = None) -> Answer:
        return self._call(
            "lookup", f"{requests.intent_path(reference)}?{requests.WITH_CHARGE}", key, None, answers.intent_reader(key)
        )

    def find_authorization(self, key: UUID, *, reference: str | None = None) -> Answer:
        return self.find_charge(key, reference=reference)

    @requests.or_not_sent
    def capture(
        self, key: UUID, *, authorization: UUID, reference: str | None = None, amount: int, currency: str, final: bool
    ) -> Answer:
        path = f"{requests.intent_path(requests.required(reference, 'authorization_not_found'))}/capture"
        wanted = to_stripe(amount, currency)
        body: dict[str, Any] = {"amount_to_capture": wanted, f"metadata[{requests.capture_name(key)}]": wanted}
        if not final:
            body["final_capture"] = "false"
        return self._call("capture", path, key, body, answers.capture_reader(key))

    @requests.or_not_sent
    def void(self, key: UUID, *, authorization: UUID, reference: str | None = None) -> Answer:
        path = f"{requests.intent_path(requests.required(reference, 'authorization_not_found'))}/cancel"
        return self._call("void", path, key, {"cancellation_reason": "requested_by_customer"}, answers.read_void)

    @requests.or_not_sent
    def refund(self, key: UUID, *, charge: UUID, reference: str | None = None, amount: int, currency: str) -> Answer:
        body = {
            "payment_intent": requests.required(reference, "charge_not_found"),
            "amount": to_stripe(amount, currency),
            "metadata[key]": str(key),
            "metadata[charge]": str(charge),
        }
        return self._call("refund", requests.REFUNDS, key, body, answers.read_refund)

    # --- Disputes ----------------------------------------------------------------------------------------------

    def submit_evidence(
        self, key: UUID, *, dispute: UUID, reference: str | None = None, text: str, files: list[Any]
    ) -> Answer:
        return self._respond("evidence", key, (dispute, reference), "", response_of(text, files))

    def accept_dispute(self, key: UUID, *, dispute: UUID, reference: str | None = None) -> Answer:
        return self._respond("accept", key, (dispute, reference), "/close", {})

    def _respond(
        self, operation: str, key: UUID, dispute: tuple[UUID, str | None], action: str, body: dict[str, Any]
    ) -> Answer:
        """Find the name of the dispute, and send a response to it. Stripe executes a repeated one once, by our key."""
        ours, reference = dispute
        path = f"{requests.DISPUTES}?limit={requests.PAGE_SIZE}&payment_intent={quote(reference or '')}"
        found = self._call("lookup", path, key, None, dispute_finder(ours))
        if found.outcome != "found":
            return found
        path = f"{requests.DISPUTES}/{quote(found.reference or '', safe='')}{action}"
        return _after(found, self._call(operation, path, key, body, read_response))

    def find_dispute(self, name: str) -> dict[str, Any]:
        """Return a dispute as it is now, with its PaymentIntent. Raises GatewayError, soon: other events wait."""
        path = f"{requests.DISPUTES}/{quote(name, safe='')}?{requests.WITH_INTENT}"
        return self._read(path, seconds=settings.GATEWAY_TIMEOUT_SECONDS)

    # --- Unknown outcomes --------------------------------------------------------------------------------------

    def cancel_charge(self, key: UUID, *, reference: str | None = None) -> Answer:
        """Fence the key, or look the charge up. It stays unknown until Stripe's search, which lags, shows it.

        An open challenge ends.
        """
        if reference is not None:
            return self._end_challenge(key, reference)
        search = quote(f"metadata['key']:'{key}'")
        path = f"{requests.INTENTS}/search?limit=2&query={search}&{requests.WITH_CHARGES}"
        answer = self._fence(key, path, answers.finder(key, answers.read_intent))
        if answer.outcome != "requires_action" or answer.reference is None:
            return answer
        return _after(answer, self._end_challenge(key, answer.reference))

    def cancel_authorization(self, key: UUID, *, reference: str | None = None) -> Answer:
        return self.cancel_charge(key, reference=reference)

    def _end_challenge(self, key: UUID, reference: str) -> Answer:
        """Cancel a PaymentIntent whose challenge is open, or return its outcome: the search may be a minute behind.

        Only then, because a cancel also releases an authorization. It needs no key of ours: Stripe cancels once.
        """
        found = self.find_charge(key, reference=reference)
        if found.outcome != "requires_action":
            return found
        body = {"cancellation_reason": "abandoned", "expand[]": "latest_charge"}
        path = f"{requests.intent_path(reference)}/cancel"
        return _after(found, self._call("cancel", path, uuid4(), body, answers.intent_reader(key)))

    def cancel_capture(self, key: UUID, *, reference: str | None = None) -> Answer:
        return self._fence(key, requests.intent_path(reference), answers.capture_reader(key, looked_up=True))

    def cancel_void(self, key: UUID, *, reference: str | None = None) -> Answer:
        return self._fence(key, requests.intent_path(reference), answers.read_void)

    def cancel_refund(
        self, key: UUID, *, charge: UUID, reference: str | None = None, amount: int, currency: str
    ) -> Answer:
        """Fence the key, or look the refund up. Stripe repeats its answer to one that it refused, which no list has."""
        path = f"{requests.REFUNDS}?limit={requests.PAGE_SIZE}&payment_intent={quote(reference or '')}"
        found = self._fence(key, path, answers.finder(key, partial(answers.read_refund, 200)))
        if found.code != answers.NOT_FOUND:
            return found
        return _after(found, self.refund(key, charge=charge, reference=reference, amount=amount, currency=currency))

    def _fence(self, key: UUID, path: str, read: Callable[[int, Any], Answer]) -> Answer:
        """Occupy the key, and look up at `path` what used it before. A request in flight leaves the outcome unknown.

        Stripe forgets a key after a day, and then takes the fence although the operation arrived: so the lookup has to
        confirm that it did not.
        """
        fence = self._call(
            "cancel", requests.INTENTS, key, requests.FENCE | {"metadata[fence]": str(key)}, answers.read_fence
        )
        if fence.outcome not in ("key_used", "cancelled"):
            return fence
        found = _after(fence, self._call("cancel", path, key, None, read))
        if fence.outcome == "cancelled" and found.code in (answers.NOT_FOUND, "authorization_closed"):
            found.outcome = found.code = "cancelled"
        return found

    # --- The record of what moved ------------------------------------------------------------------------------

    def totals(self) -> None:
        """Return None: Stripe keeps no totals. `reconcile` compares item by item."""

    def records(self, *, after: Any = 0, limit: int = requests.PAGE_SIZE) -> dict[str, Any]:
        """Return one page of payments, newest first; after the last one come those of refunds, then of disputes."""
        path, last = after or (next(iter(RECORDS)), "")
        query = f"limit={min(limit, requests.PAGE_SIZE)}" + (f"&starting_after={last}" if last else "")
        page = self._read(f"{path}?{query}" + (f"&{requests.WITH_INTENTS}" if path == requests.DISPUTES else ""))
        records = [record for item in page["data"] for record in RECORDS[path](item)]
        if page["has_more"]:
            return {"records": records, "next": (path, page["data"][-1]["id"])}
        following = [*RECORDS, None][list(RECORDS).index(path) + 1]
        return {"records": records, "next": (following, "") if following else None}


def _after(first: Answer, second: Answer) -> Answer:
    """Return the second answer with the exchanges of both."""
    second.exchanges = first.exchanges + second.exchanges
    return second
