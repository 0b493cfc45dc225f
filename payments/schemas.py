"""The types of requests and responses, and the rules for single fields. `payments/bodies.py` reads requests.

msgspec structures: they validate at a tenth of a serializer's cost, and the OpenAPI document is generated from the same
types (`payments/api/openapi.py`).
"""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType, field

from fintech.texts import INVISIBLE, is_blank
from payments.currencies import EXPONENTS
from payments.errors import InvalidRequest
from payments.failures import Advice
from payments.return_urls import check_return_url

# Twelve digits: 9,999,999,999.99 in EUR, and shorter than the shortest card number.
MAX_AMOUNT = 999_999_999_999
MAX_BATCH = 1000

Amount = Annotated[
    int,
    Meta(ge=1, le=MAX_AMOUNT, description="In the currency's minor unit: 1250 is EUR 12.50, or JPY 1250."),
]
CurrencyCode = Annotated[
    str,
    Meta(
        pattern="^[A-Z]{3}$",
        min_length=3,
        max_length=3,
        description="ISO 4217.",
        extra_json_schema={"enum": sorted(EXPONENTS)},
    ),
]
Country = Annotated[str, Meta(pattern="^[A-Z]{2}$", description="ISO 3166.", min_length=2, max_length=2)]
Moment = Annotated[datetime, Meta(tz=True)]
# The characters that `bodies.check_texts` refuses, for the OpenAPI document.
_TEXT = {"pattern": "^[^\\u0000]*$"}
_VISIBLE_TEXT = {"pattern": f"^[^\\u0000]*[^{INVISIBLE}][^\\u0000]*$"}
Short = Annotated[str, Meta(min_length=1, max_length=255, extra_json_schema=_TEXT)]
Long = Annotated[str, Meta(max_length=1000, extra_json_schema=_TEXT)]
Url = Annotated[str, Meta(min_length=1, max_length=2048, extra_json_schema=_TEXT)]
# `payments.api.base` checks it for header and batch: msgspec's pattern check accepts a trailing line break.
KEY_SCHEMA = {"minLength": 1, "maxLength": 255, "pattern": "^[!-~]{1,255}$"}
Key = Annotated[str, Meta(description="1 to 255 visible characters.", extra_json_schema=KEY_SCHEMA)]
Metadata = Annotated[
    dict[
        Annotated[str, Meta(min_length=1, max_length=64, extra_json_schema=_TEXT)],
        Annotated[str, Meta(max_length=512, extra_json_schema=_TEXT)],
    ],
    Meta(max_length=50, description="Up to 50 texts of your own."),
]


class PaymentMethod(Struct, forbid_unknown_fields=True):
    """The customer's means of payment. `token` represents the card: card numbers are refused."""

    type: Annotated[str, Meta(min_length=1, max_length=32, examples=["card"], extra_json_schema=_TEXT)]
    token: Short | None = None
    country: Country | None = None


class Input(Struct):
    def check(self) -> None:
        """Raise InvalidRequest for what a field's type cannot express."""


class PaymentInput(Input, forbid_unknown_fields=True):
    amount: Amount
    currency: CurrencyCode
    customer: Short | None = None
    description: Long | None = None
    reference: Short | None = None
    payment_method: PaymentMethod | None = None
    metadata: Metadata | None = None
    capture: Annotated[bool, Meta(description="false: only authorize the amount, to be captured or voided later.")] = (
        True
    )

    return_url: Annotated[
        Annotated[str, Meta(min_length=1, max_length=2048, extra_json_schema={"pattern": "^https://[!-~]+$"})] | None,
        Meta(
            description="https, on a host that an operator has listed for you: the customer may have to authenticate"
            " (3-D Secure), and returns there. Absent, the customer is never asked."
        ),
    ] = None

    def check(self) -> None:
        if self.currency not in EXPONENTS:
            raise InvalidRequest("unknown_currency", f"{self.currency} is not an ISO 4217 currency.", param="currency")
        if self.return_url is not None:
            check_return_url(self.return_url)


class BatchItem(PaymentInput, kw_only=True, forbid_unknown_fields=True):
    idempotency_key: Key


class RefundInput(Input, forbid_unknown_fields=True):
    amount: Annotated[Amount | None, Meta(description="Absent, the full remaining amount.")] = None
    reason: Long | None = None


class CaptureInput(Input, forbid_unknown_fields=True):
    amount: Annotated[Amount | None, Meta(description="Absent, all that is left of the authorization.")] = None
    final: Annotated[bool, Meta(description="false: more captures follow. Otherwise the rest is released.")] = True


class VoidInput(Input, forbid_unknown_fields=True):
    reason: Long | None = None


class ReviewInput(Input, forbid_unknown_fields=True):
    decision: Annotated[
        Literal["accept", "refuse"],
        Meta(description="accept: capture the payment, or authorize it if it has capture false. refuse: void it."),
    ]
    reason: Long | None = None


class Fraud(Struct):
    score: Annotated[float | None, Meta(description="0 to 1; null if it could not be scored.")]
    reasons: list[str]


class FraudTrial(Struct):
    """A decision about a payment that was not made."""

    decision: Literal["accepted", "review", "blocked"]
    decided_by: Literal["rules", "allow_list", "block_list", "velocity"]
    score: Annotated[float | None, Meta(description="0 to 1; null if it could not be scored.")]
    threshold: Annotated[float, Meta(description="The rules block a payment with this score or more.")]
    reasons: Annotated[list[str], Meta(description="The rules and the entries of lists that match, as in `fraud`.")]
    weights: Annotated[dict[str, float], Meta(description="What each rule that matches adds to the score.")]
    review_threshold: Annotated[
        float | UnsetType, Meta(description="The rules hold a payment with this score or more for a review.")
    ] = UNSET


class Failure(Struct):
    code: Annotated[str, Meta(description="Stable.")]
    message: Annotated[str, Meta(description="For people.")]
    advice: Annotated[Advice | None, Meta(description="What to do next; null for a code that is not known.")]


OperationStatus = Literal["processing", "succeeded", "failed", "unknown"]  # of a capture, void, refund or review
DisputeStatus = Literal["opened", "needs_response", "under_review", "pre_arbitration", "final_review", "won", "lost"]
PaymentStatus = Literal[
    "processing",
    "succeeded",
    "declined",
    "blocked",
    "failed",
    "unknown",
    "authorized",
    "voided",
    "in_review",
    "requires_action",
]


class NextAction(Struct):
    """The next step of a payment that is `requires_action`: send the customer to `url`."""

    type: Literal["redirect"]
    url: str
    expires_at: Moment


class Authentication(Struct):
    """The result of strong customer authentication (3-D Secure)."""

    outcome: Literal["authenticated", "failed", "abandoned", "frictionless", "exempt"]
    liability_shift: Annotated[
        Literal["issuer", "merchant"], Meta(description="The bearer of the loss if the payment is fraud.")
    ]


class Payment(Struct):
    """A transaction in the API."""

    id: UUID
    status: PaymentStatus
    amount: int
    amount_authorized: int
    amount_captured: int
    amount_refunded: int
    currency: str
    fraud: Fraud
    failure: Failure | None
    gateway_reference: str | None
    customer: str | None
    reference: str | None
    description: str | None
    metadata: dict[str, str]
    created_at: Moment
    settled_at: Moment | None
    capture_before: Annotated[
        Moment | None, Meta(description="When what is not captured is released; null unless it was authorized.")
    ]
    # Absent for a payment without a return_url, so that its answer is what it was before there were challenges.
    next_action: Annotated[
        NextAction | UnsetType, Meta(description="Absent unless the customer must authenticate.")
    ] = UNSET
    authentication: Annotated[
        Authentication | UnsetType,
        Meta(description="Absent until the customer's bank has decided about it, if it does."),
    ] = UNSET


class CaptureOutput(Struct):
    id: UUID
    transaction: UUID
    status: OperationStatus
    amount: int
    final: bool
    currency: str
    failure: Failure | None
    gateway_reference: str | None
    created_at: Moment
    settled_at: Moment | None


class VoidOutput(Struct):
    id: UUID
    transaction: UUID
    status: OperationStatus
    amount: Annotated[int, Meta(description="What is released.")]
    currency: str
    reason: str | None
    failure: Failure | None
    gateway_reference: str | None
    created_at: Moment
    settled_at: Moment | None


class ReviewOutput(Struct):
    """A decision about a payment in review. `status` is that of the capture or void that it needs, if it needs one."""

    id: UUID
    transaction: UUID
    decision: Literal["accept", "refuse"]
    status: OperationStatus
    reason: str | None
    failure: Annotated[Failure | None, Meta(description="Why the capture or void failed: the payment stays in review.")]
    created_at: Moment
    settled_at: Moment | None


class RefundOutput(Struct):
    id: UUID
    transaction: UUID
    status: OperationStatus
    amount: int
    currency: str
    reason: str | None
    failure: Failure | None
    gateway_reference: str | None
    created_at: Moment
    settled_at: Moment | None


class RefundPage(Struct):
    data: list[RefundOutput]
    next: str | None


class CapturePage(Struct):
    data: list[CaptureOutput]
    next: str | None


class EvidenceFile(Struct, forbid_unknown_fields=True):
    """A file that the merchant keeps: its name, size in bytes, and SHA-256."""

    name: Annotated[str, Meta(min_length=1, max_length=255, extra_json_schema=_VISIBLE_TEXT)]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$", min_length=64, max_length=64)]
    size: Annotated[int, Meta(ge=1, le=MAX_AMOUNT)]


class EvidenceInput(Input, forbid_unknown_fields=True):
    text: Annotated[str, Meta(min_length=1, max_length=20_000, extra_json_schema=_VISIBLE_TEXT)]
    files: Annotated[list[EvidenceFile], Meta(max_length=20)] = []

    def check(self) -> None:
        names = ((f"files[{number}].name", file.name) for number, file in enumerate(self.files))
        for param, text in [("text", self.text), *names]:
            if is_blank(text):  # it would use up the response of this round
                raise InvalidRequest("invalid_value", "Expected a text with a visible character.", param=param)


class EmptyInput(Input, forbid_unknown_fields=True):
    """Nothing: the operation has no fields."""


class DisputeOutput(Struct):
    id: UUID
    transaction: UUID
    status: DisputeStatus
    amount: int
    currency: str
    fee: Annotated[int, Meta(description="The gateway's fee, which stays with the merchant.")]
    reason: str
    evidence_due_at: Annotated[Moment | None, Meta(description="A response must arrive before.")]
    created_at: Moment
    settled_at: Moment | None


class InquiryOutput(Struct):
    """A question of the cardholder's bank about a payment. It takes no money, and may become a dispute."""

    id: Annotated[str, Meta(description="The gateway's name of the inquiry.")]
    transaction: UUID
    status: Literal["needs_response", "under_review", "closed"]
    amount: int
    currency: str
    reason: str
    evidence_due_at: Moment | None


class DisputeResponseOutput(Struct):
    """A response of the merchant: evidence, or that it accepts the dispute."""

    kind: Literal["evidence", "acceptance"]
    text: str
    files: list[EvidenceFile]
    submitted_at: Moment
    delivered_at: Annotated[
        Moment | None, Meta(description="When the gateway answered it; null while it is on its way.")
    ]
    outcome: Annotated[Literal["taken", "refused"] | None, Meta(description="The gateway's answer.")]
    failure: Annotated[Failure | None, Meta(description="Why the gateway refused it.")]


class DisputeDetail(DisputeOutput, kw_only=True):
    responses: list[DisputeResponseOutput]


class DisputePage(Struct):
    data: list[DisputeOutput]
    next: str | None


class ExpandedPayment(Payment, kw_only=True):
    """A payment with the first page of its lists, if `expand` asks for them."""

    refunds: RefundPage | UnsetType = UNSET
    captures: CapturePage | UnsetType = UNSET
    disputes: DisputePage | UnsetType = UNSET


class PaymentPage(Struct):
    data: list[ExpandedPayment]
    next: Annotated[str | None, Meta(description="The address of the next page; null on the last.")]


class JournalEntry(Struct):
    """A change of a payment. `type` is the status, after `capture_`, `void_`, `refund_` or `dispute_` for those."""

    id: int
    type: str
    at: Moment
    actor: str
    capture: UUID | None
    void: UUID | None
    refund: UUID | None
    dispute: UUID | None


class JournalPage(Struct):
    data: list[JournalEntry]
    next: str | None
    archived: Annotated[
        bool, Meta(description="Earlier entries were moved to an archive: the operator of the platform has them.")
    ]


EventType = Annotated[str, Meta(max_length=64, examples=["payment.succeeded"], extra_json_schema=_TEXT)]


class EndpointInput(Input, forbid_unknown_fields=True):
    url: Annotated[Url, Meta(description="A public https address, on port 443 or 8443.")]
    event_types: Annotated[list[EventType], Meta(max_length=64, description="Absent or empty: all types.")] = []
    description: Long = ""
    enabled: bool = True


class EndpointChange(Input, forbid_unknown_fields=True):
    url: Url | UnsetType = UNSET
    event_types: Annotated[list[EventType], Meta(max_length=64)] | UnsetType = UNSET
    description: Long | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class RedeliveryInput(Input, forbid_unknown_fields=True):
    """Send `event`, or `from` and `before`."""

    event: UUID | None = None
    from_: Annotated[Moment | None, Meta(description="Events from this time on.")] = field(name="from", default=None)
    before: Annotated[Moment | None, Meta(description="Events before this time.")] = None

    def check(self) -> None:
        has_range = self.from_ is not None and self.before is not None
        has_part = self.from_ is not None or self.before is not None
        if has_part != has_range or has_range == (self.event is not None):
            raise InvalidRequest("invalid_value", "Send event, or from and before.", param="body")


class EndpointOutput(Struct):
    """A webhook endpoint."""

    id: UUID
    url: str
    event_types: list[str]
    description: str
    enabled: bool
    disabled_because: Annotated[str | None, Meta(description="merchant, failing or gone; null while it is enabled.")]
    failing_since: Moment | None
    retry_at: Annotated[Moment | None, Meta(description="Nothing is sent before this time.")]
    created_at: Moment


class EndpointWithSecret(EndpointOutput, kw_only=True):
    """Shown once."""

    secret: Annotated[str, Meta(description="Verifies signatures; begins with whsec_.")]


class EndpointPage(Struct):
    data: list[EndpointOutput]
    next: str | None


class EventOutput(Struct):
    """The body of a webhook."""

    id: UUID
    type: str
    timestamp: Moment
    # Payment | RefundOutput | an endpoint: msgspec cannot describe a union of structures without a tag.
    data: Annotated[Any, Meta(description="The object as of that moment.", extra_json_schema={"type": "object"})]


class EventPage(Struct):
    data: list[EventOutput]
    next: str | None


class AttemptOutput(Struct):
    at: Moment
    outcome: str
    status_code: int | None
    milliseconds: int
    answer: Annotated[str, Meta(description="The beginning of the body, up to 1 KiB, or the error.")]


class DeliveryOutput(Struct):
    event: UUID
    type: str
    status: Literal["pending", "delivered", "failed"]
    due_at: Moment | None
    delivered_at: Moment | None
    attempts: list[AttemptOutput]


class DeliveryPage(Struct):
    data: list[DeliveryOutput]
    next: str | None


class RedeliveryOutput(Struct):
    queued: int


class ProblemDocument(Struct, omit_defaults=True):
    """RFC 9457, with a stable code."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str | None
    param: str | None = None


_EITHER = [{"$ref": f"#/components/schemas/{name}"} for name in ("Payment", "ProblemDocument")]


class BatchResult(Struct):
    status_code: int
    # Payment | ProblemDocument: msgspec cannot describe a union of structures without a tag.
    body: Annotated[Any, Meta(extra_json_schema={"anyOf": _EITHER})]


class BatchOutput(Struct):
    results: list[BatchResult]


class BatchInput(Struct, forbid_unknown_fields=True):
    items: Annotated[list[BatchItem], Meta(min_length=1, max_length=MAX_BATCH)]
