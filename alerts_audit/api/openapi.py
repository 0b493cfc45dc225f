"""The trail's part of /v1/schema: requests and responses of its API. The types are in `types.py`."""

from typing import Any

import msgspec
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from alerts_audit.models import Episode, Gap, Review
from alerts_audit.reviews.services import MAX_TEXT
from alerts_audit.selectors import types
from alerts_audit.selectors.criteria import MAX_LABELS, PARAMETERS
from alerts_audit.selectors.exports import FORMATS
from alerts_audit.selectors.statistics import DEFAULT_DAYS, MAX_DAYS
from fintech.http.pagination import DEFAULT_LIMIT, MAX_LIMIT

_REF = "#/components/schemas/{name}"
_SHAPES = (
    types.EpisodePage,
    types.EpisodeDetail,
    types.ReviewList,
    types.GapPage,
    types.Statistics,
    types.CheckpointPage,
)
REVIEW_INPUT = {
    "type": "object",
    "properties": {
        "kind": {"type": "string", "enum": list(Review.Kind.values)},
        "text": {
            "type": ["string", "null"],
            "maxLength": MAX_TEXT,
            "description": "A comment, the reason for noise, or an incident's address. Optional to acknowledge.",
        },
    },
    "required": ["kind"],
    "additionalProperties": False,
}

PROBLEMS = {
    400: "The request is malformed: the body is not JSON, or incomplete, or the cursor was altered.",
    401: "No valid access token, and no session cookie of the admin.",
    403: "The person lacks the permission; or a request with the cookie lacks the CSRF token.",
    404: "The episode does not exist.",
    409: "The alert is already acknowledged; the first acknowledgement counts.",
    411: "The body has no Content-Length.",
    413: "The body is larger than 4 MiB.",
    415: "The body is not application/json.",
    422: "A parameter or a field is wrong; `param` names it.",
    503: "The database is unavailable.",
}


def _problems(*statuses: int) -> dict[Any, OpenApiResponse]:
    schema = {"$ref": _REF.format(name="ProblemDocument")}
    return {(status, "application/problem+json"): OpenApiResponse(schema, PROBLEMS[status]) for status in statuses}


def _answer(shape: type, text: str, status: int = 200) -> dict[Any, OpenApiResponse]:
    return {(status, "application/json"): OpenApiResponse({"$ref": _REF.format(name=shape.__name__)}, text)}


def _operation(name: str, summary: str, answers: Any, *statuses: int, **more: Any) -> Any:
    problems = _problems(*sorted({401, 403, 503, *statuses}))
    return extend_schema(operation_id=name, summary=summary, tags=["alerts"], responses=answers | problems, **more)


def _choice(name: str, words: Any, text: str, **more: Any) -> OpenApiParameter:
    return OpenApiParameter(name, {"type": "string", "enum": list(words), **more}, description=text)


_KEY = OpenApiParameter("key", OpenApiTypes.UUID, OpenApiParameter.PATH)
_PAGE = [
    OpenApiParameter(
        "cursor", {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"}, description="From `next` of the previous page."
    ),
    OpenApiParameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
        description="Rows a page.",
    ),
]
_SCHEMAS: dict[str, Any] = {
    "key": {"type": "string", "format": "uuid"},
    "state": {"type": "string", "enum": list(Episode.State.values)},
    "label": {"type": "array", "items": {"type": "string", "pattern": "^[^=\\0]+=[^\\0]*$"}, "maxItems": MAX_LABELS},
    "opened_from": {"type": "string", "format": "date-time"},
    "opened_before": {"type": "string", "format": "date-time"},
    "acknowledged": {"type": "boolean"},
    "noise": {"type": "boolean"},
}
_FILTERS = [
    OpenApiParameter(
        name, _SCHEMAS.get(name, {"type": "string", "pattern": "^[^\\0]*$"}), description=text, explode=True
    )
    for name, text in PARAMETERS.items()
]

LIST = _operation(
    "list_episodes",
    "List alerts, newest first",
    _answer(types.EpisodePage, "One page. It can hold fewer than `limit`, or none, and still have a next one."),
    *(400, 422),
    parameters=[*_FILTERS, *_PAGE],
)
EXPORT = _operation(
    "export_episodes",
    "Export the filtered list",
    {
        (200, content_type): OpenApiResponse(OpenApiTypes.STR, "A row, or a JSON object per line, for each alert.")
        for content_type in ("text/csv", "application/x-ndjson")
    },
    422,
    parameters=[*_FILTERS, _choice("format", FORMATS, "CSV, or JSON lines.", default="csv")],
)
RETRIEVE = _operation(
    "retrieve_episode",
    "Read everything about one alert",
    _answer(types.EpisodeDetail, "The newest 200 state changes, the deliveries that caused them, and the reviews."),
    *(404, 422),
    parameters=[_KEY],
)
LIST_REVIEWS = _operation(
    "list_reviews",
    "List the reviews of an alert, oldest first",
    _answer(types.ReviewList, "All reviews."),
    *(404, 422),
    parameters=[_KEY],
)
REVIEW = _operation(
    "create_review",
    "Acknowledge an alert, comment on it, mark it as noise, or link it to an incident",
    _answer(types.Review, "The review is stored, and can never be changed.", 201),
    *(400, 404, 409, 411, 413, 415, 422),
    parameters=[_KEY],
    request={"application/json": REVIEW_INPUT},
    examples=[
        OpenApiExample("acknowledge", {"kind": "acknowledge"}, request_only=True),
        OpenApiExample("noise", {"kind": "noise", "text": "Fires with every deployment."}, request_only=True),
    ],
)
LIST_GAPS = _operation(
    "list_gaps",
    "List missing alerts, newest first",
    _answer(types.GapPage, "One page."),
    *(400, 422),
    parameters=[
        _choice("reason", Gap.Reason.values, "The reason."),
        _choice("state", ["open", "closed"], "`open` or `closed`."),
        *_PAGE,
    ],
)
STATISTICS = _operation(
    "retrieve_statistics",
    "Statistics of alert handling over the last days",
    _answer(types.Statistics, "Over the alerts first reported in these days."),
    422,
    parameters=[
        OpenApiParameter(
            "days",
            {"type": "integer", "minimum": 1, "maximum": MAX_DAYS, "default": DEFAULT_DAYS},
            description="How many.",
        )
    ],
)
LIST_CHECKPOINTS = _operation(
    "list_checkpoints",
    "List the signed checkpoints of the log, newest first",
    _answer(types.CheckpointPage, "One page, and the newest checkpoint as it is published."),
    *(400, 422),
    parameters=_PAGE,
)


class PersonScheme(OpenApiAuthenticationExtension):
    """The security scheme.

    Only its text names the session cookie, because OpenAPI would require all schemes of a list at once.
    """

    target_class = "alerts_audit.permissions.PersonAuthentication"
    name = "trailToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        text = "An access token of a person (docs/alert-review.md), or the session cookie of the admin."
        return {"type": "http", "scheme": "bearer", "description": text}


def add_shapes(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Add the types as components, as a hook of drf-spectacular."""
    _, components = msgspec.json.schema_components(_SHAPES, ref_template=_REF)
    result.setdefault("components", {}).setdefault("schemas", {}).update(components)
    return result
