"""The trail in the admin: readable, safe to look at, and out of reach of any change."""

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from alerts_audit.admin.deliveries import DeliveryAdmin
from alerts_audit.apps import AlertsAuditConfig
from alerts_audit.models import READABLE_IN_LISTS, Delivery, Envelope
from alerts_audit.tests.factories import make_user, sign_in
from alerts_audit.tests.payloads import UNREADABLE, alertmanager_body
from alerts_audit.webhook.services import record_delivery

LIST = "/admin/alerts_audit/delivery/"


def record(body: bytes, *, size: int | None = None) -> Delivery:
    return record_delivery(source="alertmanager", body=body, size=size)


@pytest.fixture
def admin() -> Client:
    return sign_in(make_user(is_superuser=True))


def test_a_person_without_the_permission_sees_nothing():
    delivery = record(b"{}")
    client = sign_in(make_user())

    for path in (LIST, f"{LIST}{delivery.pk}/change/", f"{LIST}{delivery.pk}/body"):
        assert client.get(path).status_code == 403
    assert Client().get(f"{LIST}{delivery.pk}/body").status_code == 302  # to the sign-in page


def test_no_permission_allows_to_add_change_or_delete_evidence():
    evidence = AlertsAuditConfig.evidence_models
    permissions = Permission.objects.filter(content_type__app_label="alerts_audit", content_type__model__in=evidence)
    own = {"review_episode", "export_trail"}
    assert {permission.codename for permission in permissions} == own | {f"view_{model}" for model in evidence}


@pytest.mark.parametrize("path", ["add/", "{pk}/delete/", "{pk}/change/"])
def test_even_a_superuser_cannot_write(admin, path):
    delivery = record(b"{}")

    assert admin.post(LIST + path.format(pk=delivery.pk), {"source": "forged"}).status_code == 403
    assert Delivery.objects.get(pk=delivery.pk).source == "alertmanager"


def test_even_a_superuser_cannot_delete_by_action(admin):
    delivery = record(b"{}")
    admin.post(LIST, {"action": "delete_selected", "_selected_action": delivery.pk, "post": "yes"})

    assert Delivery.objects.filter(pk=delivery.pk).exists()


def test_the_list_is_newest_first_and_says_what_came(admin):
    record(alertmanager_body("OlderAlert"))
    record(alertmanager_body("NewerAlert", "Another", status="resolved"))
    page = admin.get(LIST).text

    assert page.index("Another, NewerAlert (2)") < page.index("OlderAlert (1)")
    assert "resolved" in page


def test_the_list_neither_counts_the_table_nor_loads_large_bodies(admin):
    large = record(alertmanager_body("x" * READABLE_IN_LISTS))
    admin.get(LIST)
    with CaptureQueriesContext(connection) as queries:
        page = admin.get(LIST).text

    assert str(large.pk) in page
    statements = [query["sql"] for query in queries if "alerts_audit_delivery" in query["sql"]]
    assert not [sql for sql in statements if "COUNT(" in sql]
    assert not [sql for sql in statements if '"alerts_audit_delivery"."body",' in sql]


@pytest.mark.django_db  # rolled back: the projector, which other tests run, must not find its envelope
def test_a_large_delivery_is_not_counted_until_it_is_projected(admin):
    large = record(alertmanager_body("x" * READABLE_IN_LISTS))
    assert "unknown: too large to parse for a list" in admin.get(LIST).text

    values = {"status": "resolved", "receiver": "night-shift", "alerts": 5_000, "alertnames": ["TargetDown"]}
    Envelope.objects.create(delivery=large, input_number=10**15 + large.pk, **values)
    page = admin.get(LIST).text
    for word in ("TargetDown (5000)", "night-shift", "resolved"):
        assert word in page


@pytest.mark.django_db
def test_a_delivery_that_was_kept_in_part_says_so_wherever_it_is_offered(admin):
    part = record(b"{", size=20_000_000)
    assert "unknown: only the first part is stored" in admin.get(LIST).text

    page = admin.get(f"{LIST}{part.pk}/change/").text
    assert "Download the stored first part" in page
    assert "Download the original bytes" not in page
    assert "the first 1 bytes, with the SHA-256" in page
    assert bytes(part.kept_sha256).hex() in page
    disposition = admin.get(f"{LIST}{part.pk}/body")["Content-Disposition"]
    assert disposition == f'attachment; filename="delivery-{part.pk}-first-part"'


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_delivery_can_be_looked_at(admin, body):
    delivery = record(body)

    assert ("large" if delivery.size > READABLE_IN_LISTS else "unreadable") in admin.get(LIST).text
    page = admin.get(f"{LIST}{delivery.pk}/change/")
    assert page.status_code == 200
    assert "\0" not in page.text


def test_the_body_is_shown_indented_and_escaped(admin):
    delivery = record(alertmanager_body("<script>alert(1)</script>"))
    page = admin.get(f"{LIST}{delivery.pk}/change/").text

    assert "<script>alert(1)" not in page
    assert "  &quot;receiver&quot;: &quot;audit&quot;" in page
    assert bytes(delivery.sha256).hex() in page


def test_a_long_body_is_shown_in_part(admin):
    delivery = record(alertmanager_body("x" * 400_000))
    page = admin.get(f"{LIST}{delivery.pk}/change/")

    assert "Its beginning:" in page.text
    assert len(page.text) < 400_000


@pytest.mark.parametrize("body", [b"<script>alert(1)</script>", b"\x00\xff", b""])
def test_the_body_is_downloaded_byte_for_byte_and_never_shown_as_a_page(admin, body):
    response = admin.get(f"{LIST}{record(body).pk}/body")

    assert response.content == body
    assert response["Content-Type"] == "application/octet-stream"
    assert response["Content-Disposition"].startswith("attachment")
    assert response["X-Content-Type-Options"] == "nosniff"


def test_a_delivery_that_does_not_exist_is_not_found(admin):
    assert admin.get(f"{LIST}{2**60}/body").status_code == 404


def test_older_deliveries_are_one_page_further(admin):
    oldest = record(alertmanager_body("TheOldest"))
    for _ in range(DeliveryAdmin.list_per_page):
        record(b"{}")

    assert "TheOldest" not in admin.get(LIST).text
    assert "TheOldest" in admin.get(LIST, {"before": oldest.pk + 1}).text
