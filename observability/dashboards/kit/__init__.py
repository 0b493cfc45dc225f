"""Building blocks of dashboards: a call per panel, lines of panels, and rows of lines below a heading.

    dashboard("finance-overview", "Finance overview", "...", rows=[
        row("At a glance", [
            stat("Payments now", "Payments that became final.", query("kpi:transactions:rate1m"), unit=PER_SECOND),
        ]),
    ])

Every panel has a title and a description, because its function requires them. Without a unit, it shows plain numbers.
Positions and ids are assigned here, so that panels never overlap.
"""

from grafana_foundation_sdk.models.dashboard import Threshold

from observability.dashboards.kit.layout import WIDTH, Section, dashboard, row, to_json
from observability.dashboards.kit.looks import MONEY, PER_MINUTE, PER_SECOND, above, apart_from_zero, below, words
from observability.dashboards.kit.panels import Panel, graph, heat, listing, log_graph, log_lines, stat
from observability.dashboards.kit.queries import mean, percentile, query, rate, ratio
from observability.dashboards.kit.variables import CURRENCY, instance
