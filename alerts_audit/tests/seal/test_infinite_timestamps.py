"""A row with a time that Python cannot represent does not break the trail."""

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from alerts_audit.models import Episode
from alerts_audit.permissions import issue_token
from alerts_audit.tests.seal.trails import Trail
from fintech.adminsite.display import page_of

TIMES = """
SELECT table_name, column_name FROM information_schema.columns
WHERE table_name LIKE 'alerts_audit_%' AND data_type = 'timestamp with time zone'
    AND table_name <> 'alerts_audit_accesstoken' -- or no one could ask
"""
SHOWN = [model for model in apps.get_app_config("alerts_audit").get_models() if admin.site.is_registered(model)]


@pytest.fixture(scope="module", params=["infinity", "-infinity", "20000-01-01"])
def spoilt(request, sealed: Trail, tmp_path_factory: pytest.TempPathFactory) -> Trail:
    trail = sealed.copy(tmp_path_factory.mktemp("seal") / "audit")
    trail.tamper(*(f"UPDATE {table} SET {column} = '{request.param}'" for table, column in trail.query(TIMES)))
    return trail


def root() -> User:
    return User.objects.get_or_create(username="root", defaults={"is_staff": True, "is_superuser": True})[0]


@pytest.mark.parametrize("model", SHOWN, ids=lambda model: model._meta.model_name)
def test_the_admin_shows_rows_of_impossible_times(spoilt: Trail, model):
    with spoilt.used():
        client = Client()
        client.force_login(root())
        pages = [reverse(f"admin:alerts_audit_{model._meta.model_name}_changelist")]
        pages += [page_of(model, row.pk) for row in model.objects.all()[:1]]

        assert [client.get(page).status_code for page in pages] == [200] * len(pages)


def test_statistics_exports_and_api_show_impossible_times(spoilt: Trail):
    with spoilt.used():
        user = root()
        _, token = issue_token(user=user, name="test")
        client = Client(headers={"Authorization": f"Bearer {token}"})
        key = Episode.objects.values_list("key", flat=True)[0]
        paths = [
            "episodes",
            f"episodes/{key}",
            "statistics",
            "episodes/export?format=csv",
            "episodes/export?format=json",
        ]
        answers = [client.get(f"/v1/alerts/{path}") for path in paths]

        assert [answer.status_code for answer in answers] == [200] * len(paths)
        assert all(answer.getvalue() if answer.streaming else answer.content for answer in answers)
