"""The types of requests and responses, and the rules for single fields.

msgspec structures: they validate at a tenth of a serializer's cost, and the OpenAPI document is generated from the same
types (`payments/api/openapi.py`).
"""

import json
import re
from collections import Counter
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

import msgspec
import orjson
from msgspec import UNSET, Meta, Struct, UnsetType, field

from fintech.cards import SHORTEST_TIME, contains_card_number, may_contain_card_number, strip_timestamps
from payments.currencies import EXPONENTS
from payments.errors import InvalidRequest, MalformedRequest, PaymentError
from payments.failures import Advice
from payments.return_urls import check_return_url

# Twelve digits: 9,999,999,999.99 in EUR, and shorter than the shortest card number.
MAX_AMOUNT = 999_999_999_999
MAX_BATCH = 1000
# Deeper than any type below: a batch item's metadata.
MAX_DEPTH = 8
MAX_NAME_LENGTH = 64

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
# The characters that `check_texts` refuses, for the OpenAPI document.
_TEXT = {"pattern": "^[^\\u0000]*$"}
Short = Annotated[str, Meta(min_length=1, max_length=255, extra_json_schema=_TEXT)]
Long = Annotated[str, Meta(max_length=1000, extra_json_schema=_TEXT)]
Url = Annotated[str, Meta(min_length=1, max_length=2048, extra_json_schema=_TEXT)]
# `payments.api.views` checks it for header and batch: msgspec's pattern check accepts a trailing line break.
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


RefundStatus = Literal["processing", "succeeded", "failed", "unknown"]
CaptureStatus = Literal["processing", "succeeded", "failed", "unknown"]
VoidStatus = CaptureStatus
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
    status: CaptureStatus
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
    status: VoidStatus
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
    status: CaptureStatus
    reason: str | None
    failure: Annotated[Failure | None, Meta(description="Why the capture or void failed: the payment stays in review.")]
    created_at: Moment
    settled_at: Moment | None


class RefundOutput(Struct):
    id: UUID
    transaction: UUID
    status: RefundStatus
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

    name: Short
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$", min_length=64, max_length=64)]
    size: Annotated[int, Meta(ge=1, le=MAX_AMOUNT)]


class EvidenceInput(Input, forbid_unknown_fields=True):
    text: Annotated[str, Meta(min_length=1, max_length=20_000, extra_json_schema=_TEXT)]
    files: Annotated[list[EvidenceFile], Meta(max_length=20)] = []


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


# --- Reading a body ----------------------------------------------------------------------------------------


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, _ in pairs if counts[name] > 1)
        raise _not_json(f"the name {shorten(twice)!r} occurs twice in one object")
    return result


def _refuse_constant(name: str) -> None:
    raise _not_json(f"{name} is not a number")


def _not_json(reason: str) -> PaymentError:
    return MalformedRequest("invalid_json", f"The body is not JSON: {reason}.")


def parse_json(body: bytes) -> Any:
    """Parse the body. Repeated names are refused, because readers disagree about which one counts."""
    # The thorough way finds the error again, and describes it.
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError, orjson.JSONEncodeError):
        if b"\\" not in body and not has_digits(body, MOST_DIGITS):
            data = msgspec.json.decode(body)
            # A repeated name shows in the number of quotation marks, because none of them is escaped.
            if body.count(b'"') == orjson.dumps(data).count(b'"'):
                return data
    return _parse_thoroughly(body)


# A number with as many digits is read by msgspec in another way than by Python's own reader.
MOST_DIGITS = 16
_DIGITS = bytes.maketrans(b"123456789", b"000000000")


def has_digits(body: bytes, number: int) -> bool:
    """Return True if so many digits follow each other. A regular expression takes ten times as long."""
    return b"0" * number in body.translate(_DIGITS)


def _parse_thoroughly(body: bytes) -> Any:
    try:
        return json.loads(body.decode(), object_pairs_hook=_refuse_duplicates, parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise MalformedRequest("invalid_json", "The body is not UTF-8.") from None
    except RecursionError:
        raise MalformedRequest("invalid_json", "The body is nested too deeply.") from None
    except json.JSONDecodeError as error:
        raise _not_json(printable(str(error))) from None
    except ValueError:  # Python limits the digits of an integer, whose parsing takes quadratic time
        raise InvalidRequest("invalid_value", "A number has too many digits.", param="body") from None


def printable(text: str) -> str:
    """Return `text` as valid UTF-8: a lone surrogate, which JSON can contain, becomes a question mark."""
    return text.encode(errors="replace").decode()


def shorten(name: str) -> str:
    """Shorten a client's name, so that it can be repeated in an answer."""
    return printable(name if len(name) <= MAX_NAME_LENGTH else name[:MAX_NAME_LENGTH] + "...")


_PATH = re.compile(r" - at (?:`key` in )?`\$\.?([^`]*)`$")
_NAMED = re.compile(r"(?:required|unknown) field `([^`]*)`")


Shape = TypeVar("Shape", bound=Input)


def read(body: bytes, shape: type[Shape]) -> Shape:
    """Convert a body to a `shape`. Raises MalformedRequest or InvalidRequest."""
    return parse(parse_json(body), shape, is_plain=is_plain(body))


def is_plain(body: bytes) -> bool:
    """Return True if `check_texts` cannot refuse any text of `body`. Nearly all bodies are plain."""
    return has_plain_texts(body) and body.count(b"{") + body.count(b"[") <= MAX_DEPTH


def has_plain_texts(body: bytes) -> bool:
    """Return the same for a body that is not nested too deeply."""
    return body.isascii() and b"\\" not in body and not may_contain_card_number(body)


def is_plain_data(data: Any) -> bool:
    """Return the same for a part of a body, which has been parsed."""
    try:
        return is_plain(orjson.dumps(data))
    except TypeError:  # a lone surrogate, or an integer of more than 64 bits
        return False


def convert_items(items: list[Any], body: bytes) -> list[Any]:
    """Convert the items of a batch together, if that has the same result as `parse` for each; their `check` is left."""
    # A value that is nested too deeply is refused by its type, too. Without a time, a key is checked as any other text.
    if has_plain_texts(body) and not has_digits(body, SHORTEST_TIME):
        with suppress(msgspec.ValidationError):
            return msgspec.convert(items, list[BatchItem])
    return items


def parse(data: Any, shape: type[Shape], *, is_plain: bool = False) -> Shape:
    """Convert `data` to a `shape`. Raises InvalidRequest, which names the first wrong field."""
    if not is_plain:
        check_texts(data)
    try:
        result = msgspec.convert(data, shape)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    result.check()
    return result


def _invalid(message: str) -> PaymentError:
    path, named = _PATH.search(message), _NAMED.search(message)
    inner = path[1] if path else ""
    param = ".".join(part for part in (inner, shorten(named[1]) if named else "") if part) or "body"
    code, detail = "invalid_value", _PATH.sub("", message)
    if named:
        code = "unknown_field" if "unknown" in message else "missing_field"
        detail = f"{'Unknown field' if code == 'unknown_field' else 'This field is required'}: {param}"
    return InvalidRequest(code, detail.replace("`", "") + ".", param=param)


# A position in a body: its parent, and the name or number in it. Formatted only for an error, because a client chooses
# the length of the names and the number of values.
Place = tuple["Place | None", str | int]
_KEY: Place = (None, "idempotency_key")


def check_texts(value: Any, place: Place | None = None, depth: int = 0) -> None:
    """Refuse text that cannot be stored (NUL, a lone surrogate) or must not be (a card number), anywhere."""
    if depth > MAX_DEPTH:
        raise InvalidRequest("invalid_value", "This is nested too deeply.", param=path_of(place))
    if isinstance(value, dict):
        for name, inner in value.items():
            check_text(name, place or (None, name))
            check_texts(inner, (place, name), depth + 1)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            check_texts(inner, (place, number), depth + 1)
    elif isinstance(value, str):
        check_text(value, place)
    elif isinstance(value, int) and value > MAX_AMOUNT and contains_card_number(str(value)):  # smaller ones are none
        raise card_number(place)


def check_text(value: str, place: Place | None) -> None:
    if "\0" in value:
        raise InvalidRequest("invalid_text", "Text cannot contain the character NUL.", param=path_of(place))
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            detail = "Text cannot contain a lone surrogate."
            raise InvalidRequest("invalid_text", detail, param=path_of(place)) from None
    if contains_card_number(strip_timestamps(value) if place == _KEY else value):
        raise card_number(place)


def card_number(place: Place | None) -> PaymentError:
    # The name of the parameter may be the card number itself.
    param = path_of(place)
    detail = "Card numbers are not allowed: send a token."
    return InvalidRequest("card_number", detail, param="body" if contains_card_number(param) else param)


def path_of(place: Place | None) -> str:
    """Return `metadata.colour`, `items[3].amount`, or "body" for the whole."""
    path = ""
    while place is not None:
        place, part = place
        path = (f"[{part}]" if isinstance(part, int) else f".{shorten(part)}") + path
    return path.removeprefix(".") or "body"
