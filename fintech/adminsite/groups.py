"""Groups of people that each app begins with."""

from collections.abc import Iterable, Mapping

from django.contrib.auth.models import Group, Permission


def ensure_groups(app_label: str, groups: Mapping[str, Iterable[str]], *, using: str) -> None:
    """Make the groups that are missing, after each migration. What an administrator made of one is kept.

    `groups` names permissions of the app by their codenames. Not a data migration: Django makes the permissions only
    once all migrations have run.
    """
    for name, codenames in groups.items():
        group, is_new = Group.objects.using(using).get_or_create(name=name)
        if is_new:
            permissions = Permission.objects.using(using).filter(content_type__app_label=app_label)
            group.permissions.set(permissions.filter(codename__in=codenames))
