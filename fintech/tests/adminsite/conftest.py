"""Fixtures of the admin site's tests."""

import secrets

import pytest
from django.contrib.auth.models import User
from django.test import Client

from payments.models import Merchant


@pytest.fixture
def client() -> Client:
    """A superuser's browser."""
    client = Client()
    client.force_login(User.objects.create(username=secrets.token_hex(12), is_staff=True, is_superuser=True))
    return client


@pytest.fixture
def merchant() -> Merchant:
    return Merchant.objects.create(name=f"Merchant {secrets.token_hex(12)}", country="DE")
