"""The errors that services and parsers raise. `payments/api/responses.py` turns them into problem documents.

    PaymentError
    |- MalformedRequest      it cannot be read: no JSON, no idempotency key or an invalid one
    |- InvalidRequest        a field has a wrong type, range or value
    |  `- KeyReused          the idempotency key belongs to another request
    |- AuthenticationFailed  no API key, or one that is not valid
    |- PermissionDenied      the API key lacks a scope, or its merchant is not active
    |- NotFound              the merchant has no such transaction, dispute, endpoint or event
    |- Conflict              the transaction's status does not allow it
    |- InFlight              the first request with this key is still in progress
    `- Unavailable           the database does not answer

`code` is stable, `detail` is for people, `param` names the field.
"""

from fintech.errors import DATABASE_UNAVAILABLE


class PaymentError(Exception):
    def __init__(self, code: str, detail: str, *, param: str | None = None) -> None:
        super().__init__(detail)
        self.code, self.detail, self.param = code, detail, param


class MalformedRequest(PaymentError):
    pass


class InvalidRequest(PaymentError):
    pass


class KeyReused(InvalidRequest):
    def __init__(self, detail: str, *, param: str) -> None:
        super().__init__("idempotency_key_reused", detail, param=param)


class AuthenticationFailed(PaymentError):
    pass


class PermissionDenied(PaymentError):
    pass


class NotFound(PaymentError):
    def __init__(self, what: str = "transaction") -> None:
        super().__init__("not_found", f"The {what} does not exist.")


class Conflict(PaymentError):
    pass


class InFlight(PaymentError):
    """`seconds` is how long the first request may still take."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            "request_in_flight", "The first request with this key is still in progress: repeat the request later."
        )
        self.seconds = seconds


class Unavailable(PaymentError):
    def __init__(self) -> None:
        super().__init__(*DATABASE_UNAVAILABLE)
