"""Permissions of a release reach the groups that exist; what an administrator removed stays removed."""

import secrets

import pytest
from django.contrib.auth.models import Group, Permission

from fintech.adminsite.groups import ensure_groups
from fintech.models import OfferedPermission

pytestmark = pytest.mark.django_db
# In the order of their ids.
FIRST, SECOND, THIRD = "add_group", "change_group", "delete_group"


@pytest.fixture
def name() -> str:
    return f"group {secrets.token_hex(6)}"


def release(name: str, *codenames: str) -> None:
    ensure_groups("auth", {name: codenames}, using="default")


def held(name: str) -> set[str]:
    return set(Group.objects.get(name=name).permissions.values_list("codename", flat=True))


def permission(codename: str) -> Permission:
    return Permission.objects.get(content_type__app_label="auth", codename=codename)


def make_before_offers(name: str, *codenames: str) -> Group:
    """Make a group as releases did that recorded no offers."""
    group = Group.objects.create(name=name)
    group.permissions.set(map(permission, codenames))
    return group


def test_a_new_group_has_all_permissions(name):
    release(name, FIRST, SECOND)

    assert held(name) == {FIRST, SECOND}


def test_a_permission_of_a_later_release_reaches_the_group(name):
    release(name, FIRST)
    release(name, FIRST, SECOND)

    assert held(name) == {FIRST, SECOND}


@pytest.mark.parametrize("removed", [FIRST, SECOND])
def test_a_removed_permission_is_not_given_again(name, removed):
    release(name, FIRST, SECOND)
    Group.objects.get(name=name).permissions.remove(permission(removed))
    release(name, FIRST, SECOND)
    release(name, FIRST, SECOND, THIRD)

    assert held(name) == {FIRST, SECOND, THIRD} - {removed}


def test_a_group_without_any_permission_gets_only_those_that_it_was_never_offered(name):
    release(name, FIRST)
    Group.objects.get(name=name).permissions.clear()
    release(name, FIRST, SECOND)

    assert held(name) == {SECOND}


def test_a_permission_that_an_administrator_added_is_kept(name):
    release(name, FIRST)
    Group.objects.get(name=name).permissions.add(permission(THIRD))
    release(name, FIRST, SECOND)

    assert held(name) == {FIRST, SECOND, THIRD}


def test_a_group_that_was_deleted_is_created_with_all_permissions(name):
    release(name, FIRST, SECOND)
    Group.objects.get(name=name).delete()
    release(name, FIRST, SECOND)

    assert held(name) == {FIRST, SECOND}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([FIRST, SECOND], {FIRST, SECOND, THIRD}),  # the third is new
        ([SECOND], {SECOND, THIRD}),  # the first was removed: it is older than one that the group has
        ([FIRST, THIRD], {FIRST, THIRD}),
        ([], set()),  # all were removed
    ],
)
def test_a_group_of_an_older_release_gets_what_is_newer_than_its_permissions(name, before, after):
    make_before_offers(name, *before)
    release(name, FIRST, SECOND, THIRD)

    assert held(name) == after


def test_nothing_is_offered_twice(name):
    for _ in range(2):
        release(name, FIRST, SECOND)

    assert OfferedPermission.objects.filter(group__name=name).count() == 2


def test_a_permission_that_does_not_exist_yet_is_offered_once_it_does(name):
    release(name, FIRST, "colour_group")
    Permission.objects.create(codename="colour_group", content_type=permission(FIRST).content_type, name="Can colour")
    release(name, FIRST, "colour_group")

    assert held(name) == {FIRST, "colour_group"}
