"""Groups of users, created by each app. A permission of a new release reaches the groups that exist, once."""

from collections.abc import Iterable, Mapping

from django.contrib.auth.models import Group, Permission
from django.db import connections

from fintech.models import OfferedPermission


def ensure_groups(app_label: str, groups: Mapping[str, Iterable[str]], *, using: str) -> None:
    """Create missing groups after each migration, and give each group the permissions that it was never offered.

    A permission that an administrator removed stays removed. `groups` names permissions of the app by their codenames.
    This is not a data migration, because Django creates permissions only after all migrations.
    """
    if OfferedPermission._meta.db_table not in connections[using].introspection.table_names():
        return  # after a migration backwards
    for name, codenames in groups.items():
        group, is_new = Group.objects.using(using).get_or_create(name=name)
        permissions = Permission.objects.using(using).filter(content_type__app_label=app_label, codename__in=codenames)
        wanted = set(permissions.values_list("pk", flat=True))
        offers = OfferedPermission.objects.using(using).filter(group=group)
        offered = set(offers.values_list("permission_id", flat=True))
        added = wanted if is_new else wanted - (offered or _offered_before(group, wanted))
        group.permissions.add(*added)
        OfferedPermission.objects.using(using).bulk_create(
            OfferedPermission(group=group, permission_id=pk) for pk in wanted - offered
        )


def _offered_before(group: Group, wanted: set[int]) -> set[int]:
    """Return what was offered to a group before offers were recorded.

    Ids grow. A permission that is older than one of the group's was offered together with it, and is missing because an
    administrator removed it.
    """
    held = wanted & set(group.permissions.values_list("pk", flat=True))
    return {pk for pk in wanted if pk <= max(held)} if held else wanted
