from observability.dashboards.kit import PER_SECOND, graph, query, rate, row

AUTHORIZATIONS = row(
    "Authorizations",
    [
        graph(
            "Authorized, not captured",
            "Amounts that banks hold for us in major units, which are neither captured nor released.",
            query('sum by (currency) (authorized_not_captured_amount{currency=~"$currency"})', "{{currency}}"),
            money=True,
        ),
        graph(
            "Authorizations and voided payments",
            "Per second. A voided payment is neither revenue nor a failure. Expired authorizations are voided.",
            query(rate("authorizations_total", by="status"), "{{status}}"),
            unit=PER_SECOND,
        ),
    ],
    [
        graph(
            "Captures",
            "Captures per second by outcome. Failed: the gateway refused, and the authorization is unchanged.",
            query(rate("captures_total", by="status"), "{{status}}"),
            unit=PER_SECOND,
        ),
        graph(
            "Voids",
            "Voids per second by outcome, also of expired authorizations and of the rest after captures.",
            query(rate("voids_total", by="status"), "{{status}}"),
            unit=PER_SECOND,
        ),
    ],
    [
        graph(
            "Authentications",
            "3-D Secure per second by result. Failed and abandoned: the payment is declined.",
            query(rate("authentications_total", by="status"), "{{status}}"),
            unit=PER_SECOND,
        ),
        graph(
            "Customers being asked",
            "Payments whose customer has been asked to authenticate, and still has time.",
            query("sum(open_challenges)", "payments"),
        ),
    ],
)
