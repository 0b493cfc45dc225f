"""The filters and the search box of the list of alerts."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest

from alerts_audit.admin.display import shorten
from alerts_audit.models import Episode
from alerts_audit.selectors.criteria import Criteria
from alerts_audit.selectors.facets import get_words
from fintech.adminsite.filters import ChoiceFilter

PERIODS = {"1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7), "30d": timedelta(days=30)}
YES_OR_NO = {"true": True, "false": False}


class WordFilter(ChoiceFilter):
    """A filter that only lists its choices; `EpisodeChangeList` applies it."""

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset


class OpenWordFilter(WordFilter):
    """A filter that offers the first of many values, and accepts others, for example from a link."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset


class StateFilter(WordFilter):
    title = parameter_name = "state"
    offered = [(state, state) for state in Episode.State.values]


class SeverityFilter(OpenWordFilter):
    title = parameter_name = "severity"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(word, word or "none") for word in get_words("severity") if word]


class AlertFilter(OpenWordFilter):
    title = "alert"
    parameter_name = "alertname"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(word, shorten(word, 60)) for word in get_words("alertname") if word]


class AcknowledgedFilter(WordFilter):
    title = parameter_name = "acknowledged"
    offered = [("true", "acknowledged"), ("false", "not acknowledged")]


class NoiseFilter(WordFilter):
    title = parameter_name = "noise"
    offered = [("true", "marked as noise"), ("false", "not marked as noise")]


class OpenedFilter(WordFilter):
    title = "started in the last"
    parameter_name = "opened"
    offered = [("1h", "hour"), ("24h", "24 hours"), ("7d", "7 days"), ("30d", "30 days")]


def get_criteria(request: HttpRequest) -> Criteria:
    """Return the criteria of the filters and the search box; the filters have already refused unknown values."""
    chosen = {name: value.replace("\0", " ") for name, value in request.GET.dict().items() if value}
    period = PERIODS.get(chosen.get("opened", ""))
    return Criteria(
        state=chosen.get("state"),
        severity=chosen.get("severity"),
        opened_from=datetime.now(UTC) - period if period else None,
        acknowledged=YES_OR_NO.get(chosen.get("acknowledged", "")),
        noise=YES_OR_NO.get(chosen.get("noise", "")),
        **searched(chosen.get("q", "").strip(), chosen.get("alertname")),
    )


def searched(term: str, alertname: str | None) -> dict[str, Any]:
    """Parse the search box: a key, `label=value` (several, separated by commas), or the name of an alert."""
    named = {"alertname": alertname}
    if not term:
        return named
    with suppress(ValueError):
        return {**named, "key": UUID(term)}
    pairs = [pair.strip().partition("=") for pair in term.split(",") if pair.strip()]
    if "=" in term and all(name for name, _, _ in pairs):
        return {**named, "labels": {name: value.strip('"') for name, _, value in pairs}}
    return {"alertname": term if alertname in (None, term) else f"{term}\n{alertname}"}  # no alert has both names
