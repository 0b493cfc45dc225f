"""What was promised, whether it is kept, and how much of the error budget is left."""

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

# Of observability/prometheus/rules/slo.yml: name -> what is promised.
OBJECTIVES = {
    "payment-availability": "99.9 % of payments get an outcome that is not our failure",
    "payment-latency": "95 % of payments take us less than 300 ms, the gateway's time not counted",
    "alert-delivery": "99 % of the notifications that Alertmanager sends are taken",
}
# The alerts' pairs of windows: long, short, and the burn rate from which both are too fast.
FAST, SLOW = 14.4, 3.0


def slo() -> Dashboard:
    return dashboard(
        "slo",
        "SLO and error budget",
        "What was promised for 30 days, how much of what may go wrong is left, and how fast it is being spent.",
        rows=[promises(), *map(objective, OBJECTIVES), alerts()],
        period="now-6h",
        refresh="30s",
    )


def promises() -> Section:
    budget = below(0.25, 0)
    return row(
        "What is promised, and what is left",
        [
            stat(
                f"Budget left: {name}",
                f"Promised: {promise}. 100 % is untouched, 0 is spent, below 0 the promise is broken.",
                query(f'slo:error_budget_remaining:ratio30d{{slo="{name}"}}', "left"),
                unit="percentunit",
                thresholds=budget,
                decimals=1,
            )
            for name, promise in OBJECTIVES.items()
        ],
        [
            listing(
                "Promised and kept",
                "Share of good events in 30 days, or since the beginning, beside what was promised.",
                query("sum by (slo) (slo:objective:ratio)", "promised"),
                query("sum by (slo) (slo:good_events:ratio30d)", "kept"),
                query("sum by (slo) (slo:error_budget_remaining:ratio30d)", "budget left"),
                unit="percentunit",
                decimals=3,
            ),
            graph(
                "Budget left",
                "Over time. It grows back as bad days leave the window of 30 days.",
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
                f"1 spends the budget in exactly 30 days. At {FAST} an hour spends 2 % of it, and somebody is woken.",
                query(f"slo:burn_rate:5m{only}", "5 minutes"),
                query(f"slo:burn_rate:30m{only}", "30 minutes"),
                query(f"slo:burn_rate:1h{only}", "1 hour"),
                unit="suffix:x",
                thresholds=above(1, FAST),
            ),
            graph(
                f"Burn rate of {name}, long windows",
                f"At {SLOW:g} a day spends 10 % of the budget: work for the day, not for the night.",
                query(f"slo:burn_rate:2h{only}", "2 hours"),
                query(f"slo:burn_rate:6h{only}", "6 hours"),
                query(f"slo:burn_rate:1d{only}", "1 day"),
                query(f"slo:burn_rate:3d{only}", "3 days"),
                unit="suffix:x",
                thresholds=above(1, SLOW),
            ),
            graph(
                f"Events of {name}",
                "All events a second, and the bad ones among them.",
                query(f"slo:events:rate5m{only}", "all"),
                query(f"slo:bad_events:rate5m{only}", "bad"),
                unit=PER_SECOND,
            ),
        ],
    )


def alerts() -> Section:
    return row(
        "Alerts on the budget",
        [
            graph(
                "Pending and firing",
                "Alerts on budgets that are spent too fast.",
                query(
                    'count by (alertname, slo, alertstate) (ALERTS{alertname=~"ErrorBudgetBurn.*"})',
                    "{{alertstate}} {{alertname}} {{slo}}",
                ),
                unit="short",
                empty="None",
            ),
        ],
    )
