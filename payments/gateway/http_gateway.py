"""The gateway that speaks the simulator's HTTP interface (docs/gateway.md): our operations as its requests."""

from typing import Any
from uuid import UUID

from django.conf import settings

from payments.gateway.answers import read_challenged
from payments.gateway.base import Answer
from payments.gateway.client import HttpClient


class HttpGateway(HttpClient):
    def __init__(self, url: str, token: str, *, name: str = settings.GATEWAY_NAME) -> None:
        super().__init__(url, token, name=name)

    def charge(
        self, key: UUID, *, amount: int, currency: str, payment_method: Any, return_url: str | None = None
    ) -> Answer:
        body = {"amount": amount, "currency": currency, "payment_method": payment_method}
        return self._order("charge", "/v1/charges", key, body, return_url)

    def authorize(
        self, key: UUID, *, amount: int, currency: str, payment_method: Any, return_url: str | None = None
    ) -> Answer:
        body = {"amount": amount, "currency": currency, "payment_method": payment_method}
        return self._order("authorize", "/v1/authorizations", key, body, return_url)

    def _order(self, operation: str, path: str, key: UUID, body: dict[str, Any], return_url: str | None) -> Answer:
        """Order a payment, and say whether the customer may be challenged."""
        if return_url is None:
            body["challenge"] = "not_allowed"
            answer = self._call(operation, path, key, body)
            answer.authentication = None  # a client that cannot be challenged did not ask for it
            return answer
        body["challenge"], body["return_url"] = "allowed", return_url
        return self._call(operation, path, key, body, read_challenged)

    def find_charge(self, key: UUID, *, reference: str | None = None) -> Answer:
        return self._call("lookup", f"/v1/charges/{key}", key, None, read_challenged)

    def find_authorization(self, key: UUID, *, reference: str | None = None) -> Answer:
        return self._call("lookup", f"/v1/authorizations/{key}", key, None, read_challenged)

    def capture(
        self, key: UUID, *, authorization: UUID, reference: str | None = None, amount: int, currency: str, final: bool
    ) -> Answer:
        body = {"charge": str(authorization), "amount": amount, "currency": currency, "final": final}
        return self._call("capture", "/v1/captures", key, body)

    def void(self, key: UUID, *, authorization: UUID, reference: str | None = None) -> Answer:
        return self._call("void", "/v1/voids", key, {"charge": str(authorization)})

    def refund(self, key: UUID, *, charge: UUID, reference: str | None = None, amount: int, currency: str) -> Answer:
        body = {"charge": str(charge), "amount": amount, "currency": currency}
        return self._call("refund", "/v1/refunds", key, body)

    def submit_evidence(
        self, key: UUID, *, dispute: UUID, reference: str | None = None, text: str, files: list[Any]
    ) -> Answer:
        """Send a response to a dispute. `declined` means that the dispute takes none now."""
        return self._call("evidence", f"/v1/disputes/{dispute}/evidence", key, {"text": text, "files": files})

    def accept_dispute(self, key: UUID, *, dispute: UUID, reference: str | None = None) -> Answer:
        return self._call("accept", f"/v1/disputes/{dispute}/accept", key, {})

    def cancel_charge(self, key: UUID, *, reference: str | None = None) -> Answer:
        """Cancel a charge that may still be in flight. Return `cancelled`, or the earlier outcome."""
        return self._call("cancel", f"/v1/charges/{key}/cancel", key, {})

    def cancel_refund(
        self, key: UUID, *, charge: UUID, reference: str | None = None, amount: int, currency: str
    ) -> Answer:
        return self._call("cancel", f"/v1/refunds/{key}/cancel", key, {})

    def cancel_authorization(self, key: UUID, *, reference: str | None = None) -> Answer:
        return self._call("cancel", f"/v1/authorizations/{key}/cancel", key, {})

    def cancel_capture(self, key: UUID, *, reference: str | None = None) -> Answer:
        return self._call("cancel", f"/v1/captures/{key}/cancel", key, {})

    def cancel_void(self, key: UUID, *, reference: str | None = None) -> Answer:
        return self._call("cancel", f"/v1/voids/{key}/cancel", key, {})

    def totals(self) -> dict[str, dict[str, int]]:
        """Return `charged`, `captured` and `refunded` by currency, in minor units."""
        return self._read("/v1/totals")["currencies"]

    def records(self, *, after: Any = 0, limit: int = 1000) -> dict[str, Any]:
        """Return one page of all money that the gateway moved: `records`, and `next` to continue."""
        return self._read(f"/v1/records?after={after}&limit={limit}")
