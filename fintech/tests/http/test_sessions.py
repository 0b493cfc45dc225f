"""A session's cookie may contain anything: only Django's own keys are looked up."""

import pytest
from django.contrib.sessions.backends import db
from django.test import Client

from fintech.http.sessions import SessionStore

pytestmark = pytest.mark.django_db

NUL = '"' + r"\000" * 8 + '"'


@pytest.mark.parametrize(("path", "status"), [("/admin/login/", 200), ("/admin/", 302), ("/v1/alerts/episodes", 401)])
@pytest.mark.parametrize("name", ["sessionid", "csrftoken", "messages"])
def test_a_cookie_with_nul_is_that_of_a_stranger(path, status, name):
    assert Client().get(path, headers={"Cookie": f"{name}={NUL}"}).status_code == status


@pytest.mark.parametrize("key", [None, "", "short", "A" * 32, "a" * 41, "\0" * 32, "a" * 31 + "\n", "é" * 32])
def test_a_key_that_django_does_not_make_is_none(key):
    assert SessionStore(key).session_key is None


def test_sessions_of_djangos_own_store_stay_valid():
    before = db.SessionStore()
    before["user"] = 7
    before.create()

    assert SessionStore(before.session_key)["user"] == 7
