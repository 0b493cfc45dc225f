"""Hosts register the epochs of their metrics files."""

from uuid import uuid4

import pytest
from django.db import connection

from fintech.models import MetricsEpoch
from fintech.telemetry.host_registry import register
from fintech.telemetry.metric_slots import Slot

pytestmark = pytest.mark.django_db


def test_a_registration_sets_the_role_of_an_adopted_epoch():
    """An epoch that a worker adopted without a role was in no list of exporters of one role."""
    epoch = uuid4()
    MetricsEpoch.objects.create(epoch=epoch, role="", holder="", url="")

    with connection.cursor() as cursor:
        register(lambda *statement: cursor.execute(*statement) or cursor, Slot("web-1", epoch, lock=-1))

    assert MetricsEpoch.objects.get(epoch=epoch).role == "web"
