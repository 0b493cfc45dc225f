"""Lists of episodes: newest first, by number, and fast for any number of episodes.

One filter leads: the most selective one with an index, which provides the page. All other filters skip rows that the
leading filter found, and a page reads at most `WINDOW` rows. So a page may contain fewer rows than requested, or none,
and still have a next page.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import reduce
from operator import and_
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest

from alerts_audit.models import Episode, Identity, Review
from alerts_audit.selectors.criteria import PARAMETERS, Criteria, read_criteria
from fintech.database.replica import connection
from fintech.database.sql import fetch_all
from fintech.http import pagination

LIST_NAME = "episode"
WINDOW = 5_000
# More identities than this are not selective: their episodes are found faster among the newest.
MAX_IDENTITIES = 1000
# The maximum number of episodes that a page reads for selected identities.
MAX_JOINED_IDENTITIES = 2000
# Episodes are numbered in the order of inputs; `opened_at` may deviate from that order by this much.
SLACK = timedelta(minutes=10)
# Most episodes are over, so the state `resolved` leads only if no other filter can.
COMMON_STATE = Episode.State.RESOLVED

OF_IDENTITIES = """
SELECT found.id FROM unnest(%(identities)s::bigint[]) AS identity(id) CROSS JOIN LATERAL (
    SELECT id FROM alerts_audit_episode
    WHERE identity_id = identity.id AND id < %(before)s AND id >= %(least)s ORDER BY id DESC LIMIT %(most)s
) AS found ORDER BY found.id DESC LIMIT %(most)s
"""
BEYOND_ALL = 2**63 - 1


@dataclass(frozen=True)
class Page:
    rows: list[Episode]
    following: int | None  # the next page has the episodes below this number; None: the last page
    looked_at: int | None = None  # the number of read rows, if that ended the page


def requested_page(request: HttpRequest) -> tuple[list[Episode], str | None]:
    """Return one page, and the address of the next. Raise Problem 400 or 422."""
    query = request.GET
    pagination.refuse_unknown(query, {*PARAMETERS, "cursor", "limit"}, repeatable=["label"])
    before = pagination.read_cursor(LIST_NAME, str(query["cursor"])) if "cursor" in query else None
    page = page_of_episodes(read_criteria(query), before=before, limit=pagination.read_limit(query.get("limit")))
    if page.following is None:
        return page.rows, None
    return page.rows, pagination.next_address(request, pagination.write_cursor(LIST_NAME, page.following))


def page_of_episodes(criteria: Criteria, *, before: int | None, limit: int) -> Page:
    """Return up to `limit` episodes whose number is below `before`, with their identities."""
    least, before = _bounds(criteria, BEYOND_ALL if before is None else before)
    if criteria.labels or criteria.cluster is not None:
        identities = _identities(criteria)
        if identities is not None:
            return _of_identities(criteria, identities, least, before, limit)
    leading, others = _leading(criteria)
    rows = Episode.objects.filter(leading, id__lt=before, id__gte=least).order_by("-id")
    end = None
    if others:
        end = rows.values_list("id", flat=True)[WINDOW - 1 : WINDOW].first()
        rows = rows.filter(others) if end is None else rows.filter(others, id__gte=end)
    return _page(rows, limit, end, WINDOW)


def _page(rows: QuerySet[Episode], limit: int, end: int | None, window: int) -> Page:
    found = list(rows.select_related("identity").defer("memory")[: limit + 1])
    if len(found) > limit:
        return Page(found[:limit], found[limit - 1].pk)
    return Page(found, end, None if end is None else window)


def _bounds(criteria: Criteria, before: int) -> tuple[int, int]:
    """Return times as numbers: from the first (inclusive) to the second (exclusive)."""
    least = 0
    opened = Episode.objects.order_by("opened_at").values_list("id", flat=True)
    if criteria.opened_from is not None:
        first = opened.filter(opened_at__gte=criteria.opened_from - SLACK).first()
        least = before if first is None else first
    if criteria.opened_before is not None:
        after = opened.filter(opened_at__gte=criteria.opened_before + SLACK).first()
        before = before if after is None else min(before, after)
    return least, before


def _leading(criteria: Criteria) -> tuple[Q, Q]:
    """Return the filter whose index provides the candidates, and all others."""
    names = ["key", "alertname", "severity", "state"]
    if criteria.state != COMMON_STATE:
        names = ["key", "alertname", "state", "severity"]
    given = [Q(**{name: value}) for name in names if (value := getattr(criteria, name)) is not None]
    return (given[0] if given else Q()), _all(*given[1:], *_unindexed(criteria))


def _all(*conditions: Q) -> Q:
    return reduce(and_, conditions, Q())


def _unindexed(criteria: Criteria) -> Iterator[Q]:
    if criteria.labels:
        yield Q(identity__labels__contains=criteria.labels)
    if criteria.cluster is not None:
        yield Q(identity__cluster=criteria.cluster)
    if criteria.opened_from is not None:
        yield Q(opened_at__gte=criteria.opened_from)
    if criteria.opened_before is not None:
        yield Q(opened_at__lt=criteria.opened_before)
    for kind, wanted in ((Review.Kind.ACKNOWLEDGE, criteria.acknowledged), (Review.Kind.NOISE, criteria.noise)):
        if wanted is not None:
            found = Q(Exists(Review.objects.filter(episode_key=OuterRef("key"), kind=kind)))
            yield found if wanted else ~found


def _identities(criteria: Criteria) -> list[int] | None:
    """Return the identities with these labels; None if they are too many to be selective."""
    fields = {"alertname": criteria.alertname, "severity": criteria.severity, "cluster": criteria.cluster}
    rows = Identity.objects.filter(**{name: value for name, value in fields.items() if value is not None})
    if criteria.labels:
        rows = rows.filter(labels__contains=criteria.labels)
    found = list(rows.order_by().values_list("id", flat=True)[: MAX_IDENTITIES + 1])
    return found if len(found) <= MAX_IDENTITIES else None


def _of_identities(criteria: Criteria, identities: list[int], least: int, before: int, limit: int) -> Page:
    rest = replace(criteria, labels={}, cluster=None, alertname=None, severity=None)
    leading, others = _leading(rest)
    others = _all(leading, others)
    most = MAX_JOINED_IDENTITIES if others else limit + 1
    values: dict[str, Any] = {"identities": identities, "before": before, "least": least, "most": most}
    ids = [number for (number,) in fetch_all(OF_IDENTITIES, values, using=connection().alias)]
    end = ids[-1] if others and len(ids) == most else None
    return _page(Episode.objects.filter(others, id__in=ids).order_by("-id"), limit, end, most)
