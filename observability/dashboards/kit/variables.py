"""The choices above a dashboard."""

from grafana_foundation_sdk.builders.dashboard import QueryVariable
from grafana_foundation_sdk.models.dashboard import VariableOption, VariableRefresh, VariableSort

from observability.dashboards.kit.queries import PROMETHEUS


def variable(name: str, label: str, description: str, values: str) -> QueryVariable:
    """Return a variable with multiple choice, by default all values. `values`: `label_values(metric, label)`."""
    return (
        QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(PROMETHEUS)
        .query({"query": values, "refId": name})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


CURRENCY = variable(
    "currency",
    "Currency",
    "Currencies are never added to each other.",
    "label_values(transaction_amount_count, currency)",
)


def instance(values: str, label: str = "Instance") -> QueryVariable:
    return variable("instance", label, "The scraped processes to show.", values)
