"""Webhook endpoints in the admin: the secret is shown once, and every change goes through the services."""

import re

import pytest
from django.urls import reverse

from payments.models import WebhookEndpoint, WebhookEvent
from payments.tests.factories import sign_in
from payments.webhooks.endpoints import create_endpoint, valid_secrets

ADD = reverse("admin:payments_webhookendpoint_add")
LIST = reverse("admin:payments_webhookendpoint_changelist")
DELIVERIES = reverse("admin:payments_webhookdelivery_changelist")
URL = "https://shop.example/hook"
PERMISSIONS = ("view_webhookendpoint", "add_webhookendpoint", "change_webhookendpoint", "view_merchant")


@pytest.fixture
def endpoint(merchant) -> WebhookEndpoint:
    made, _ = create_endpoint(merchant_id=merchant.pk, url=URL)
    return made


def form(merchant, **changes):
    return {"merchant": merchant.pk, "url": URL, "description": "", "is_enabled": "on", **changes}


def act(client, name, *endpoints):
    return client.post(LIST, {"action": name, "_selected_action": [str(one.pk) for one in endpoints]}, follow=True)


def test_a_new_endpoint_shows_its_secret_once(merchant):
    client = sign_in(*PERMISSIONS)

    page = client.post(ADD, form(merchant, event_types=["payment.succeeded"])).content.decode()

    endpoint = WebhookEndpoint.objects.get(merchant=merchant)
    assert endpoint.event_types == ["payment.succeeded"]
    (secret,) = re.findall(r"whsec_[\w+/=]+", page)
    assert valid_secrets(endpoint) == [secret]
    again = client.get(reverse("admin:payments_webhookendpoint_change", args=[endpoint.pk])).content.decode()
    assert "whsec_" not in again
    assert URL in again


@pytest.mark.parametrize("url", ["http://shop.example/", "https://10.0.0.1/", "https://shop.example:22/"])
def test_a_url_that_leads_inside_is_refused_with_a_sentence(merchant, url):
    page = sign_in(*PERMISSIONS).post(ADD, form(merchant, url=url)).content.decode()

    assert "The URL is wrong" in page
    assert not WebhookEndpoint.objects.filter(merchant=merchant).exists()


def test_the_same_url_twice_is_refused(merchant, endpoint):
    page = sign_in(*PERMISSIONS).post(ADD, form(merchant))

    assert page.status_code == 200
    assert WebhookEndpoint.objects.filter(merchant=merchant).count() == 1


def test_the_url_of_another_endpoint_is_refused(merchant, endpoint):
    other, _ = create_endpoint(merchant_id=merchant.pk, url=f"{URL}/2")
    address = reverse("admin:payments_webhookendpoint_change", args=[other.pk])

    page = sign_in(*PERMISSIONS).post(address, form(merchant))

    assert "Another endpoint of the merchant has this URL." in page.text
    assert WebhookEndpoint.objects.get(pk=other.pk).url == other.url


def test_an_endpoint_that_another_request_adds_first_is_a_message(merchant, monkeypatch):
    monkeypatch.setattr(WebhookEndpoint, "validate_constraints", lambda *_, **__: None)
    create_endpoint(merchant_id=merchant.pk, url=URL)

    page = sign_in(*PERMISSIONS).post(ADD, form(merchant), follow=True)

    assert "another change came first" in page.text
    assert WebhookEndpoint.objects.filter(merchant=merchant).count() == 1


def test_disabling_is_announced_and_enabling_clears_the_failures(merchant, endpoint):
    client = sign_in(*PERMISSIONS)
    address = reverse("admin:payments_webhookendpoint_change", args=[endpoint.pk])

    values = form(merchant)
    del values["is_enabled"]
    assert client.post(address, values).status_code == 302
    endpoint.refresh_from_db()
    assert (endpoint.is_enabled, endpoint.disabled_because) == (False, "merchant")
    assert WebhookEvent.objects.filter(merchant=merchant, type="webhook_endpoint.disabled").exists()

    assert client.post(address, form(merchant)).status_code == 302
    endpoint.refresh_from_db()
    assert (endpoint.is_enabled, endpoint.disabled_because) == (True, None)


def test_a_rotation_shows_the_new_secret(endpoint):
    page = act(sign_in(*PERMISSIONS), "rotate_secret", endpoint).content.decode()

    (secret,) = re.findall(r"whsec_[\w+/=]+", page)
    assert valid_secrets(endpoint)[0] == secret
    assert len(valid_secrets(endpoint)) == 2


def test_a_test_event_is_queued(endpoint):
    act(sign_in(*PERMISSIONS), "send_test_event", endpoint)

    delivery = endpoint.deliveries.get()
    assert (delivery.event.type, delivery.status) == ("webhook_endpoint.test", "pending")
    page = sign_in("view_webhookdelivery", "view_webhookendpoint").get(DELIVERIES).content.decode()
    assert "webhook_endpoint.test" in page


def test_a_reader_can_neither_add_nor_rotate(merchant, endpoint):
    client = sign_in("view_webhookendpoint")

    assert client.get(LIST).status_code == 200
    assert client.post(ADD, form(merchant, url=f"{URL}/2")).status_code == 403
    assert act(client, "rotate_secret", endpoint).status_code == 403
    assert len(valid_secrets(endpoint)) == 1
