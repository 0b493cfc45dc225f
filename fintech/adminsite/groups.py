"""Initial groups of users, created by each app."""

from collections.abc import Iterable, Mapping

from django.contrib.auth.models import Group, Permission


def ensure_groups(app_label: str, groups: Mapping[str, Iterable[str]], *, using: str) -> None:
    """Create missing groups after each migration. Existing groups keep the changes of administrators.

    `groups` names permissions of the app by their codenames. This is not a data migration, because Django creates
    permissions only after all migrations.
    """
    for name, codenames in groups.items():
        group, is_new = Group.objects.using(using).get_or_create(name=name)
        if is_new:
            permissions = Permission.objects.using(using).filter(content_type__app_label=app_label)
            group.permissions.set(permissions.filter(codename__in=codenames))
