"""Two groups to begin with: who helps merchants, and who may give money back."""

from typing import Any

from django.contrib.auth.models import Group, Permission

LOOKS = ("view_transaction", "view_refund", "view_ledgerleg", "view_merchant")
GROUPS = {
    "support": (*LOOKS, "resolve_transaction"),
    "finance": (*LOOKS, "refund_transaction"),
}


def ensure_groups(*, using: str, **_: Any) -> None:
    """Make the groups that are missing, after each migration. What an administrator made of one is kept.

    Not a data migration: Django makes the permissions only once all migrations have run.
    """
    for name, codenames in GROUPS.items():
        group, is_new = Group.objects.using(using).get_or_create(name=name)
        if is_new:
            permissions = Permission.objects.using(using).filter(content_type__app_label="payments")
            group.permissions.set(permissions.filter(codename__in=codenames))
