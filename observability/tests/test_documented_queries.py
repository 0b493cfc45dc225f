"""The queries that the first version documented work verbatim, and are in a panel and in the documentation."""

import re

import pytest

from observability.dashboards.documented import (
    ALERT_LOG,
    AVERAGE_LATENCY,
    ERROR_RATIO,
    P95_LATENCY,
    PROMQL,
    REVENUE,
    TPS,
)
from observability.render import HERE
from observability.tests.lab import Lab
from observability.tests.panels import PANELS

pytestmark = pytest.mark.processes

DOCUMENT = (HERE.parent / "docs/dashboards.md").read_text()
QUERIES = {query.expression for panel in PANELS for query in panel.queries}


@pytest.mark.parametrize("query", PROMQL)
def test_a_documented_query_returns_numbers(lab: Lab, query: str):
    assert any(value > 0 for value in lab.values(query))


@pytest.mark.parametrize("query", [*PROMQL, ALERT_LOG])
def test_a_documented_query_is_in_a_panel_and_in_the_documentation_word_for_word(query: str):
    assert query in QUERIES
    assert f"`{query}`".replace("|", "\\|") in DOCUMENT


def test_the_documented_queries_agree(lab: Lab):
    assert max(lab.values(TPS)) < 500  # payments per second; the lab creates a few tens
    assert all(0 < share < 1 for share in lab.values(ERROR_RATIO)[-3:])
    assert 0 < min(lab.values(AVERAGE_LATENCY)[-3:]) < max(lab.values(P95_LATENCY))
    assert lab.values(REVENUE)[-1] > lab.values('kpi:revenue:per_minute5m{currency="EUR"}')[-1]


def test_the_log_query_names_the_container_that_compose_makes():
    [container] = re.findall(r'container="(\w+)"', ALERT_LOG)

    assert f"container_name: {container}" in (HERE.parent / "docker-compose.yml").read_text()
