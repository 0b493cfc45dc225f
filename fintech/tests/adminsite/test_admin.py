"""The users of the admin are managed there, with its theme."""

import secrets

import pytest
from django.contrib.auth.models import User
from django.test import Client

pytestmark = pytest.mark.django_db


def sign_in(*, superuser: bool) -> Client:
    client = Client()
    client.force_login(User.objects.create(username=secrets.token_hex(12), is_staff=True, is_superuser=superuser))
    return client


@pytest.mark.parametrize("model", ["user", "group"])
def test_only_permitted_users_see_people(model):
    assert sign_in(superuser=False).get(f"/admin/auth/{model}/").status_code == 403
    assert sign_in(superuser=True).get(f"/admin/auth/{model}/add/").status_code == 200


def test_a_weak_password_is_refused():
    name = secrets.token_hex(12)
    form = {"username": name, "usable_password": "true", "password1": "12345678", "password2": "12345678"}
    answer = sign_in(superuser=True).post("/admin/auth/user/add/", form)

    assert "too common" in answer.text
    assert not User.objects.filter(username=name).exists()


def test_the_sign_in_page_says_no_more_than_it_must():
    page = Client().post("/admin/login/", {"username": "admin", "password": "wrong"})

    assert page.status_code == 200
    assert "frame-ancestors 'none'" in page["Content-Security-Policy"]


def test_a_sign_in_that_names_no_page_leads_to_the_admin():
    name, password = secrets.token_hex(12), secrets.token_hex(12)
    User.objects.create_user(name, password=password, is_staff=True)
    answer = Client().post("/admin/login/", {"username": name, "password": password})

    assert (answer.status_code, answer["Location"]) == (302, "/admin/")
