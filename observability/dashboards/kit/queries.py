"""PromQL: a query with its legend, and functions that write the usual ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.models.dashboard import DataSourceRef

# The uids of ../grafana/provisioning/datasources/datasources.yml.
PROMETHEUS = DataSourceRef(type_val="prometheus", uid="prometheus")
LOKI = DataSourceRef(type_val="loki", uid="loki")


@dataclass(frozen=True)
class Query:
    expression: str
    legend: str = "__auto"
    exemplars: bool = False


def query(expression: str, legend: str = "__auto", *, exemplars: bool = False) -> Query:
    """Return a PromQL query. `legend` may contain labels: `{{status}}`."""
    return Query(" ".join(expression.split()), legend, exemplars)


def ratio(part: str, whole: str) -> str:
    """Return the query of `part` divided by `whole`: 0 without events, instead of a division by zero."""
    return f"{part} / clamp_min({whole}, 1e-9)"


def rate(metric: str, where: str = "", *, by: str = "", window: str = "$__rate_interval") -> str:
    """Return the query of a counter's events per second, summed for each value of the labels `by`."""
    labels = f"{{{where}}}" if where else ""
    return f"sum by ({by}) (rate({metric}{labels}[{window}]))" if by else f"sum(rate({metric}{labels}[{window}]))"


def mean(histogram: str, where: str = "", *, by: str = "") -> str:
    """Return the query of the mean of a histogram or summary over five minutes."""
    total, count = (rate(f"{histogram}_{part}", where, by=by, window="5m") for part in ("sum", "count"))
    return ratio(total, count)


def percentile(share: float, histogram: str, where: str = "", *, by: str = "") -> str:
    """Return the query of a histogram's percentile over five minutes, such as 0.95."""
    buckets = rate(f"{histogram}_bucket", where, by=f"le, {by}" if by else "le", window="5m")
    return f"histogram_quantile({share}, {buckets})"


def targets(queries: Sequence[Query], *, instant: bool = False) -> list[Any]:
    made = []
    for letter, item in zip(ascii_uppercase, queries, strict=False):
        target = prometheus.Dataquery().ref_id(letter).datasource(PROMETHEUS).expr(item.expression)
        target = target.legend_format(item.legend).exemplar(item.exemplars)
        made.append(target.instant() if instant else target.range())
    return made
