"""Initial groups: one for support of merchants, one for operations that move money."""

from typing import Any

from fintech.adminsite import groups

VIEWS = (
    "view_transaction",
    "view_refund",
    "view_dispute",
    "view_gatewayevent",
    "view_ledgerleg",
    "view_archive",
    "view_merchant",
    "view_fraudlistentry",
    "view_velocityrule",
    "view_fraudchange",
    "view_gatewayroute",
    "view_gatewayroutechange",
)
GROUPS = {
    "support": (*VIEWS, "resolve_transaction"),
    "finance": (*VIEWS, "refund_transaction", "capture_transaction", "void_transaction", "review_transaction"),
}


def ensure_groups(*, using: str, **_: Any) -> None:
    groups.ensure_groups("payments", GROUPS, using=using)
