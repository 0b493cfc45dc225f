"""The trail's API below /v1/alerts: thin views over selectors and services.

Anyone who may see an episode in the admin may read it here, with a token or the admin's cookie. Reading is recorded.
"""

from typing import Any
from uuid import UUID

import orjson
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request

from alerts_audit.api import openapi
from alerts_audit.models import Checkpoint, Episode, Gap, Review
from alerts_audit.permissions import PersonAuthentication, may, require
from alerts_audit.reviews.services import ReviewError, UnknownEpisode, review
from alerts_audit.reviews.viewing import filter_of, record_view
from alerts_audit.seal.signer_lookup import get_signers, trust_root
from alerts_audit.selectors.criteria import PARAMETERS, read_criteria
from alerts_audit.selectors.episode_detail import show_detail
from alerts_audit.selectors.episode_pages import requested_page
from alerts_audit.selectors.episodes import summarize_episodes
from alerts_audit.selectors.exports import FORMATS
from alerts_audit.selectors.serializers import serialize_checkpoint, serialize_episode, serialize_gap, serialize_review
from alerts_audit.selectors.statistics import DEFAULT_DAYS, MAX_DAYS, statistics
from fintech.database import replica
from fintech.http import pagination
from fintech.http.identifiers import parse_uuid
from fintech.http.problems import Problem
from fintech.http.views import JsonView, json_answer, read_body
from fintech.json_objects import RepeatedName, refuse_repeated_names


class TrailView(JsonView):
    authentication_classes = [PersonAuthentication]

    def record(self, request: Request, what: str, key: object) -> None:
        record_view(user=request.user, what=what, key=key)  # type: ignore[arg-type] # a person, after authentication


class EpisodesView(TrailView):
    @openapi.LIST
    def get(self, request: Request) -> HttpResponse:
        require(request.user, "view_episode")
        page = replica.read(page_of_summaries, request._request, may(request.user, "view_review"))
        self.record(request, "episodes", filter_of(request._request))
        return json_answer(page)


class ExportView(TrailView):
    @openapi.EXPORT
    def get(self, request: Request) -> HttpResponseBase:
        require(request.user, "view_episode", "export_trail")
        query = request._request.GET
        pagination.refuse_unknown(query, {*PARAMETERS, "format"}, repeatable=["label"])
        name = pagination.read_choice("format", query.get("format", "csv"), FORMATS)
        criteria = read_criteria(query)
        self.record(request, "export", filter_of(request._request))
        write, content_type = FORMATS[name]
        disposition = f'attachment; filename="episodes.{"csv" if name == "csv" else "jsonl"}"'
        headers = {"Content-Disposition": disposition, "Cache-Control": "no-store"}
        # The server would read the whole export for HEAD, too, and drop it.
        content = () if request.method == "HEAD" else write(criteria, with_reviews=may(request.user, "view_review"))
        return StreamingHttpResponse(content, content_type=content_type, headers=headers)


class EpisodeView(TrailView):
    @openapi.RETRIEVE
    def get(self, request: Request, key: str) -> HttpResponse:
        require(request.user, "view_episode")
        pagination.refuse_unknown(request._request.GET, ())
        episode = find_episode(key)
        self.record(request, "episode", episode.key)
        return json_answer(show_detail(episode, with_reviews=may(request.user, "view_review")))


class ReviewsView(TrailView):
    @openapi.LIST_REVIEWS
    def get(self, request: Request, key: str) -> HttpResponse:
        require(request.user, "view_episode", "view_review")
        pagination.refuse_unknown(request._request.GET, ())
        episode = find_episode(key)
        self.record(request, "reviews", episode.key)
        rows = Review.objects.filter(episode_key=episode.key).order_by("id")
        return json_answer({"data": [serialize_review(row) for row in rows], "next": None})

    @openapi.REVIEW
    def post(self, request: Request, key: str) -> HttpResponse:
        require(request.user, "view_episode", "review_episode")
        kind, text = read_review(request._request)
        try:
            made = review(episode_key=read_key(key), kind=kind, author=request.user, text=text)  # type: ignore[arg-type]
        except ReviewError as refusal:
            raise Problem(refusal.status, refusal.code, str(refusal), param=refusal.param) from None
        return json_answer(serialize_review(made), 201)


class GapsView(TrailView):
    @openapi.LIST_GAPS
    def get(self, request: Request) -> HttpResponse:
        require(request.user, "view_gap")
        query = request._request.GET
        pagination.refuse_unknown(query, {"reason", "state", "cursor", "limit"})
        rows = Gap.objects.filter(closes=None).select_related("closed_by")
        if "reason" in query:
            rows = rows.filter(reason=pagination.read_choice("reason", query.get("reason"), Gap.Reason.values))
        if "state" in query:
            is_open = pagination.read_choice("state", query.get("state"), ["open", "closed"]) == "open"
            rows = rows.filter(still_open__isnull=not is_open)
        found, following = pagination.page_of(request._request, rows, "gaps")
        self.record(request, "gaps", filter_of(request._request))
        data = [serialize_gap(gap, getattr(gap, "closed_by", None)) for gap in found]
        return json_answer({"data": data, "next": following})


class StatisticsView(TrailView):
    @openapi.STATISTICS
    def get(self, request: Request) -> HttpResponse:
        require(request.user, "view_episode")
        query = request._request.GET
        pagination.refuse_unknown(query, {"days"})
        text = query.get("days", str(DEFAULT_DAYS))
        if not (text.isascii() and text.isdigit() and len(text) <= 2 and 1 <= int(text) <= MAX_DAYS):
            raise pagination.invalid("days", f"use a whole number from 1 to {MAX_DAYS}")
        self.record(request, "statistics", f"{text} days")
        return json_answer(statistics(days=int(text)))


class CheckpointsView(TrailView):
    """The checkpoints. `note` is the newest as it is published, and `public_key` the key that signed it."""

    @openapi.LIST_CHECKPOINTS
    def get(self, request: Request) -> HttpResponse:
        require(request.user, "view_checkpoint")
        pagination.refuse_unknown(request._request.GET, {"cursor", "limit"})
        found, following = pagination.page_of(request._request, Checkpoint.objects.all(), "checkpoints")
        newest = Checkpoint.objects.first()
        signers = get_signers([*([newest] if newest else []), *found])
        self.record(request, "checkpoints", filter_of(request._request))
        return json_answer(
            {
                "note": newest and newest.note,
                "public_key": newest and signers[newest.pk],
                "public_keys": [str(key) for key in trust_root()],
                "data": [serialize_checkpoint(checkpoint, signers[checkpoint.pk]) for checkpoint in found],
                "next": following,
            }
        )


def page_of_summaries(request: HttpRequest, with_reviews: bool) -> dict[str, Any]:
    rows, following = requested_page(request)
    summaries = summarize_episodes(rows)
    return {"data": [serialize_episode(one, with_reviews=with_reviews) for one in summaries], "next": following}


def read_key(text: str) -> UUID:
    found = parse_uuid(text)
    if found is None:
        raise Problem(404, "not_found", str(UnknownEpisode()))
    return found


def find_episode(key: str) -> Episode:
    episode = Episode.objects.select_related("identity").filter(key=read_key(key)).first()
    if episode is None:
        raise Problem(404, "not_found", str(UnknownEpisode()))
    return episode


def read_review(request: HttpRequest) -> tuple[str, str]:
    """Read kind and text. Raise Problem 400 or 422; the services decide which texts are valid."""
    content = read_body(request)
    try:
        body = orjson.loads(content)
        refuse_repeated_names(content)
    except (orjson.JSONDecodeError, RepeatedName) as error:
        raise Problem(400, "invalid_json", f"The body is not JSON: {error}.") from None
    except RecursionError:  # Python's reader goes less deep
        raise Problem(400, "invalid_json", "The body is nested too deeply.") from None
    if not isinstance(body, dict):
        raise Problem(422, "invalid_value", 'Send {"kind": "...", "text": "..."}.', param="body")
    for name in body:
        if name not in ("kind", "text"):
            raise Problem(422, "unknown_field", "Unknown field. The fields are kind and text.", param=name[:64])
    if "kind" not in body:
        raise Problem(422, "missing_field", "This field is required: kind.", param="kind")
    kind, text = body["kind"], body.get("text")
    text = "" if text is None else text
    if kind not in Review.Kind.values:
        raise Problem(422, "invalid_value", f"Use one of {', '.join(Review.Kind.values)}.", param="kind")
    if not isinstance(text, str):
        raise Problem(422, "invalid_value", "Expected a text.", param="text")
    return kind, text
