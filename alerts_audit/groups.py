"""Initial groups: responders, who answer alerts, and auditors, who check the trail. Neither can delete."""

from typing import Any

from fintech.adminsite import groups

VIEWS = (
    "view_delivery",
    "view_envelope",
    "view_identity",
    "view_episode",
    "view_transition",
    "view_review",
    "view_gap",
    "view_checkpoint",
    "view_verification",
)
GROUPS = {
    "responder": (*VIEWS, "review_episode"),
    "auditor": (
        *VIEWS,
        "view_observation",
        "view_input",
        "view_view",
        "view_leaf",
        "view_archive",
        "view_source",
        "export_trail",
    ),
}


def ensure_groups(*, using: str, **_: Any) -> None:
    groups.ensure_groups("alerts_audit", GROUPS, using=using)
