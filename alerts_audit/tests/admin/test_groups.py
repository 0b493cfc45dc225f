"""Responders and auditors: neither can delete."""

import pytest
from django.contrib.auth.models import Group

from alerts_audit.groups import GROUPS, ensure_groups

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_has_the_permissions_that_its_name_promises(name):
    found = set(Group.objects.get(name=name).permissions.values_list("codename", flat=True))

    assert found == set(GROUPS[name])
    assert ("review_episode" in found) == (name == "responder")
    assert ("export_trail" in found) == (name == "auditor")
    assert not [codename for codename in found if codename.startswith(("add_", "change_", "delete_"))]


def test_an_administrators_changes_to_a_group_are_kept():
    group = Group.objects.get(name="responder")
    group.permissions.clear()
    ensure_groups(using="default")

    assert not group.permissions.exists()
