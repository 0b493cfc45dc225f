"""The dispute's page shows the responses as people read them."""

from types import SimpleNamespace

import pytest
from django.urls import reverse
from django.utils import timezone

from payments.admin.disputes import show_response
from payments.tests.factories import sign_in


@pytest.mark.django_db
def test_the_list_is_filtered_by_status_and_by_no_unknown_one():
    disputes = reverse("admin:payments_dispute_changelist")
    client = sign_in("view_dispute")

    assert client.get(disputes, {"status": "needs_response"}).status_code == 200
    assert client.get(disputes, {"status": "gone"}).status_code == 302


@pytest.mark.parametrize(
    ("delivered_at", "outcome", "words"),
    [
        (None, None, "on its way"),
        (timezone.now(), None, "answered by the gateway"),
        (timezone.now(), "taken", "taken by the gateway"),
        (timezone.now(), "refused", "refused by the gateway"),
    ],
)
def test_a_response_shows_its_times_and_no_markup_of_a_merchant(delivered_at, outcome, words):
    files = [{"name": "<b>.pdf", "size": 1, "sha256": "0" * 64}]
    times = {"created_at": timezone.now(), "delivered_at": delivered_at, "outcome": outcome}
    response = SimpleNamespace(round=1, kind="evidence", actor="api", text="<script>", files=files, **times)

    shown = show_response(response)

    assert "&lt;script&gt;" in shown
    assert "&lt;b&gt;.pdf" in shown
    assert "&lt;span" not in shown
    assert words in shown
    assert shown.count('<span class="whole">') == (1 if delivered_at is None else 2)
