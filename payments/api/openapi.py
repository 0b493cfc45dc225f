"""The OpenAPI 3.1 document: made by drf-spectacular from the views, with the shapes of `payments.schemas`."""

from functools import cache
from threading import Lock
from typing import Any

import msgspec
import orjson
from django.http import HttpResponse
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request

from fintech.http.pagination import DEFAULT_LIMIT, LARGEST_LIMIT
from fintech.http.views import JsonView
from payments import schemas
from payments.api.filters import FILTERS

_REF = "#/components/schemas/{name}"
_INPUTS = (schemas.PaymentInput, schemas.BatchInput, schemas.RefundInput)
_OUTPUTS = (
    schemas.Payment,
    schemas.PaymentPage,
    schemas.RefundOutput,
    schemas.RefundPage,
    schemas.BatchOutput,
    schemas.ProblemDocument,
)

PAYMENT_EXAMPLE = {
    "amount": 1250,
    "currency": "EUR",
    "customer": "c_42",
    "reference": "order-7",
    "payment_method": {"type": "card", "token": "tok_visa", "country": "DE"},
    "metadata": {"basket": "9"},
}
ANSWER_EXAMPLE = {
    "id": "019aab3c-5b7e-7c3e-9d0e-2f4b6a8c0e12",
    "status": "succeeded",
    "amount": 1250,
    "amount_refunded": 0,
    "currency": "EUR",
    "fraud": {"score": 0.0, "reasons": []},
    "failure": None,
    "gateway_reference": "gw_3f9a",
    "customer": "c_42",
    "reference": "order-7",
    "description": None,
    "metadata": {"basket": "9"},
    "created_at": "2026-01-31T12:00:00Z",
    "settled_at": "2026-01-31T12:00:00.061Z",
}
PROBLEM_EXAMPLE = {
    "type": "urn:problem:invalid_value",
    "title": "Unprocessable Content",
    "status": 422,
    "code": "invalid_value",
    "detail": "Expected int >= 1.",
    "request_id": "019aab3c-5b7e-7c3e-9d0e-2f4b6a8c0e13",
    "param": "amount",
}

PROBLEMS = {
    400: "The request is malformed: the body is not JSON, the Idempotency-Key is missing or no key, or the like.",
    401: "No valid API key.",
    403: "The API key lacks the scope, or its merchant is not active.",
    404: "There is no such transaction of this merchant.",
    405: "The method is not allowed here.",
    409: "The first request with this key is still being worked on: come back after Retry-After. Or a refund of a "
    "payment that did not succeed.",
    411: "The body has no Content-Length.",
    413: "The body is larger than 4 MiB.",
    415: "The body is not application/json.",
    422: "A field is wrong, or the key was used with another body; `param` names the field.",
    429: "This API key sends too many requests: come back after Retry-After.",
    503: "The database is away: retry with the same key.",
}


def _schema(shape: type) -> dict[str, str]:
    return {"$ref": _REF.format(name=shape.__name__)}


def _problems(*statuses: int) -> dict[tuple[int, str], OpenApiResponse]:
    example = OpenApiExample("problem", PROBLEM_EXAMPLE)
    return {
        (status, "application/problem+json"): OpenApiResponse(
            _schema(schemas.ProblemDocument), PROBLEMS[status], examples=[example] if status == 422 else []
        )
        for status in statuses
    }


def _answers(shape: type, **descriptions: str) -> dict[tuple[int, str], OpenApiResponse]:
    example = [OpenApiExample("answer", ANSWER_EXAMPLE)] if shape is schemas.Payment else []
    return {
        (int(status[1:]), "application/json"): OpenApiResponse(_schema(shape), text, examples=example)
        for status, text in descriptions.items()
    }


_READ = _problems(400, 401, 403, 429, 503)
_WRITE = _problems(400, 401, 403, 411, 413, 415, 422, 429, 503)
_KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", **schemas.KEY_SCHEMA},
    OpenApiParameter.HEADER,
    required=True,
    description="Yours, once for each payment or refund: the same key never charges twice.",
)
_REQUEST_ID = OpenApiParameter(
    "X-Request-ID",
    str,
    OpenApiParameter.HEADER,
    description="Returned and logged: yours if it is 1 to 64 letters, digits, dots, dashes and no card number.",
)
_ID = OpenApiParameter("id", OpenApiTypes.UUID, OpenApiParameter.PATH)


def _response_header(name: str, statuses: list[int], description: str) -> OpenApiParameter:
    return OpenApiParameter(name, str, OpenApiParameter.HEADER, description=description, response=statuses)


_WAIT = _response_header("Retry-After", [202, 409, 429, 503], "Seconds.")
_HEADERS = [
    _WAIT,
    _response_header("Idempotency-Replayed", [200, 202], "`true` if this is the stored answer of an earlier request."),
    _response_header("Location", [201, 202], "Where the transaction can be read."),
]

_CREATED = _answers(
    schemas.Payment,
    s200="A replay: this key was used before with this body, and here is the stored answer.",
    s201="The outcome is final: look at `status`. A decline or a block is an outcome, not an error.",
    s202="The outcome is not known yet: read the transaction again after Retry-After.",
)


def _create(operation_id: str) -> Any:
    return extend_schema(
        operation_id=operation_id,
        summary="Make a payment",
        tags=["transactions"],
        parameters=[_KEY, _REQUEST_ID, *_HEADERS],
        request={"application/json": _schema(schemas.PaymentInput)},
        examples=[OpenApiExample("card payment", PAYMENT_EXAMPLE, request_only=True)],
        responses=_CREATED | _WRITE | _problems(409),
    )


CREATE, CREATE_SHORT = _create("create_transaction"), _create("create_transaction_by_short_name")
LIST = extend_schema(
    operation_id="list_transactions",
    summary="List payments, newest first",
    tags=["transactions"],
    parameters=[
        *(OpenApiParameter(name, schema, description=text) for name, (_, schema, text) in FILTERS.items()),
        OpenApiParameter("idempotency_key", str, description="The key that the payment was made with."),
        OpenApiParameter(
            "cursor",
            {"type": "string", "pattern": "^[A-Za-z0-9_-]{22}$"},
            description="From `next` of the page before.",
        ),
        OpenApiParameter(
            "limit",
            {"type": "integer", "minimum": 1, "maximum": LARGEST_LIMIT, "default": DEFAULT_LIMIT},
            description="Payments a page.",
        ),
        _REQUEST_ID,
        _WAIT,
    ],
    responses=_answers(schemas.PaymentPage, s200="One page.") | _READ | _problems(422),
)
RETRIEVE = extend_schema(
    operation_id="retrieve_transaction",
    summary="Read a payment",
    tags=["transactions"],
    parameters=[_ID, _REQUEST_ID, _WAIT],
    responses=_answers(schemas.Payment, s200="The payment as it stands.") | _READ | _problems(404),
)
BATCH = extend_schema(
    operation_id="create_transactions",
    summary="Make up to 1,000 payments, each under its own key",
    tags=["transactions"],
    parameters=[_REQUEST_ID, _WAIT],
    request={"application/json": _schema(schemas.BatchInput)},
    examples=[
        OpenApiExample(
            "two",
            {"items": [{**PAYMENT_EXAMPLE, "idempotency_key": key} for key in ("order-7", "order-8")]},
            request_only=True,
        )
    ],
    responses=_answers(schemas.BatchOutput, s200="One result for each item, in the same order.") | _WRITE,
)
REFUND = extend_schema(
    operation_id="create_refund",
    summary="Give a payment back, in part or all that is left",
    tags=["refunds"],
    parameters=[_ID, _KEY, _REQUEST_ID, *_HEADERS],
    request={"application/json": _schema(schemas.RefundInput)},
    examples=[OpenApiExample("part", {"amount": 400, "reason": "returned"}, request_only=True)],
    responses=_answers(
        schemas.RefundOutput,
        s200="A replay: the stored answer.",
        s201="The outcome is final: look at `status`.",
        s202="The outcome is not known yet: list the refunds again after Retry-After.",
    )
    | _WRITE
    | _problems(404, 409),
)
LIST_REFUNDS = extend_schema(
    operation_id="list_refunds",
    summary="List the refunds of a payment, newest first",
    tags=["refunds"],
    parameters=[_ID, _REQUEST_ID, _WAIT],
    responses=_answers(schemas.RefundPage, s200="All refunds.") | _READ | _problems(404),
)


class ApiKeyScheme(OpenApiAuthenticationExtension):
    target_class = "payments.api.views.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}


def add_shapes(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """drf-spectacular's hook: the shapes as components, and which bodies cannot be left out."""
    _, components = msgspec.json.schema_components([*_INPUTS, *_OUTPUTS], ref_template=_REF)
    result.setdefault("components", {}).setdefault("schemas", {}).update(components)
    operations = [operation for methods in result["paths"].values() for operation in methods.values()]
    for operation in operations:
        if "requestBody" in operation:
            operation["requestBody"]["required"] = operation["operationId"] != "create_refund"
    return result


_generating = Lock()


def document() -> bytes:
    """Return the document, generated once. drf-spectacular's generator is not for several threads at a time."""
    with _generating:
        return _generate()


@cache
def _generate() -> bytes:
    generator = SchemaGenerator()
    return orjson.dumps(generator.get_schema(request=None, public=True))


class SchemaView(JsonView):
    """The same JSON for everybody, whatever is accepted or asked for: every reader of OpenAPI takes it."""

    schema = None

    def get(self, request: Request) -> HttpResponse:
        return HttpResponse(document(), content_type="application/vnd.oai.openapi+json")
