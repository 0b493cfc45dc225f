"""Revenue, the service to customers, and the correctness of the figures."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from observability.dashboards.finance.at_a_glance import AT_A_GLANCE
from observability.dashboards.finance.authorizations import AUTHORIZATIONS
from observability.dashboards.finance.disputes import DISPUTES
from observability.dashboards.finance.documented import DOCUMENTED
from observability.dashboards.finance.gateway_and_fraud import GATEWAY_AND_FRAUD
from observability.dashboards.finance.integrity import INTEGRITY
from observability.dashboards.finance.money import MONEY
from observability.dashboards.finance.payments import PAYMENTS
from observability.dashboards.finance.reviews import REVIEWS
from observability.dashboards.finance.waiting import WAITING
from observability.dashboards.kit import CURRENCY, dashboard


def finance() -> Dashboard:
    return dashboard(
        "finance-overview",
        "Finance overview",
        "Payments, money, and the correctness of both. The first row needs no technical terms.",
        variables=[CURRENCY],
        rows=[
            AT_A_GLANCE,
            MONEY,
            PAYMENTS,
            AUTHORIZATIONS,
            DISPUTES,
            REVIEWS,
            WAITING,
            GATEWAY_AND_FRAUD,
            INTEGRITY,
            DOCUMENTED,
        ],
    )
