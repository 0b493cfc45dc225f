"""Service level objectives, their fulfilment, and the remaining error budget."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from observability.dashboards.kit import (
    PER_SECOND,
    Section,
    Threshold,
    above,
    below,
    dashboard,
    graph,
    listing,
    query,
    row,
    stat,
)

# Objectives of observability/prometheus/rules/slo.yml by name.
OBJECTIVES = {
    "payment-availability": "99.9 % of payments do not fail",
    "payment-latency": "95 % of payments take us less than 300 ms, excluding the gateway's time",
    "alert-delivery": "99 % of Alertmanager's notifications are accepted",
}
# Burn rates from which ErrorBudgetBurnFast and ErrorBudgetBurnSlow fire.
FAST, SLOW = 14.4, 3.0


def slo() -> Dashboard:
    return dashboard(
        "slo",
        "SLO and error budget",
        "Objectives for 30 days, the remaining error budget, and how fast it is spent.",
        rows=[PROMISES, *map(objective, OBJECTIVES), ALERTS],
        period="now-6h",
        refresh="30s",
    )


BUDGET = below(0.25, 0)
PROMISES = row(
    "Objectives and remaining budget",
    [
        stat(
            f"Budget left: {name}",
            f"{promise}. 100 %: the budget is untouched. 0: it is spent. Below 0: the objective is missed.",
            query(f'slo:error_budget_remaining:ratio30d{{slo="{name}"}}', "left"),
            unit="percentunit",
            thresholds=BUDGET,
            decimals=1,
        )
        for name, promise in OBJECTIVES.items()
    ],
    [
        listing(
            "Objectives and results",
            "Share of good events in 30 days, or since the beginning, and its objective.",
            query("sum by (slo) (slo:objective:ratio)", "objective"),
            query("sum by (slo) (slo:good_events:ratio30d)", "result"),
            query("sum by (slo) (slo:error_budget_remaining:ratio30d)", "budget left"),
            unit="percentunit",
            decimals=3,
        ),
        graph(
            "Budget left",
            "Remaining budget over time. It recovers when bad days leave the window of 30 days.",
            query("sum by (slo) (slo:error_budget_remaining:ratio30d)", "{{slo}}"),
            unit="percentunit",
            minimum=None,
            axis=1,
            thresholds=[Threshold(None, "red"), Threshold(0, "green")],
        ),
    ],
)


def objective(name: str) -> Section:
    only = f'{{slo="{name}"}}'
    return row(
        f"{name}: {OBJECTIVES[name]}",
        [
            graph(
                f"Burn rate of {name}, short windows",
                f"At 1 the budget lasts exactly 30 days. At {FAST} one hour spends 2 % of it and pages a person.",
                query(f"slo:burn_rate:5m{only}", "5 minutes"),
                query(f"slo:burn_rate:30m{only}", "30 minutes"),
                query(f"slo:burn_rate:1h{only}", "1 hour"),
                unit="suffix:x",
                thresholds=above(1, FAST),
            ),
            graph(
                f"Burn rate of {name}, long windows",
                f"At {SLOW:g} one day spends 10 % of the budget and opens a ticket.",
                query(f"slo:burn_rate:2h{only}", "2 hours"),
                query(f"slo:burn_rate:6h{only}", "6 hours"),
                query(f"slo:burn_rate:1d{only}", "1 day"),
                query(f"slo:burn_rate:3d{only}", "3 days"),
                unit="suffix:x",
                thresholds=above(1, SLOW),
            ),
            graph(
                f"Events of {name}",
                "All events per second, and the bad events.",
                query(f"slo:events:rate5m{only}", "all"),
                query(f"slo:bad_events:rate5m{only}", "bad"),
                unit=PER_SECOND,
            ),
        ],
    )


ALERTS = row(
    "Alerts on the budget",
    [
        graph(
            "Pending and firing",
            "Alerts on error budgets that are spent too fast.",
            query(
                'count by (alertname, slo, alertstate) (ALERTS{alertname=~"ErrorBudgetBurn.*"})',
                "{{alertstate}} {{alertname}} {{slo}}",
            ),
            empty="None",
        )
    ],
)
