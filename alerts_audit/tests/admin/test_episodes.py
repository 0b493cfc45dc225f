"""Episodes in the admin: the list, one alert's story, reviews from there; and that what others wrote is never run."""

import csv
import io
import re
import secrets
from datetime import timedelta
from html import unescape

import pytest
from django.db import connection
from django.template.loader import render_to_string
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import escape

from alerts_audit.admin.dashboard import verified
from alerts_audit.admin.episode_links import get_links
from alerts_audit.models import Delivery, Episode, Review, Transition, Verification, View
from alerts_audit.reviews.services import acknowledge, comment, mark_as_noise
from alerts_audit.selectors import episode_pages
from alerts_audit.tests.factories import (
    NOON,
    archived_delivery,
    make_episode,
    make_identity,
    make_user,
    responder,
    sign_in,
    told_by,
)
from alerts_audit.tests.payloads import alertmanager_body
from alerts_audit.webhook.services import record_delivery

pytestmark = pytest.mark.django_db

LIST = "/admin/alerts_audit/episode/"
DELIVERIES = "/admin/alerts_audit/delivery/"
SUBJECTS = ["episode", "delivery", "gap", "checkpoint", "verification", "archive", "view", "review"]


def name() -> str:
    return f"Alert{secrets.token_hex(6)}"


def page_of(episode) -> str:
    return f"{LIST}{episode.pk}/change/"


def shown(page: str) -> list[int]:
    """The numbers of the rows in a list."""
    return [int(part.split('"', 1)[0]) for part in page.split('name="_selected_action" value="')[1:]]


@pytest.fixture
def person():
    return responder()


@pytest.fixture
def client(person):
    return sign_in(person)


# --- Who may -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subject", SUBJECTS)
def test_staff_without_permission_see_nothing(subject):
    assert sign_in(make_user()).get(f"/admin/alerts_audit/{subject}/").status_code == 403


@pytest.mark.parametrize("path", ["statistics/", "7/review/", "7/runbook/"])
def test_other_pages_need_the_permission_too(path):
    assert sign_in(make_user()).post(LIST + path).status_code == 403


@pytest.mark.parametrize("subject", SUBJECTS)
def test_an_auditor_sees_everything_and_changes_nothing(subject):
    client = sign_in(make_user(group="auditor"))

    assert client.get(f"/admin/alerts_audit/{subject}/").status_code == 200
    assert client.get(f"/admin/alerts_audit/{subject}/add/").status_code == 403
    forged = {"action": "delete_selected", "_selected_action": 1, "post": "yes"}
    assert client.post(f"/admin/alerts_audit/{subject}/", forged).status_code == 403


def test_an_auditor_cannot_review():
    client, episode = sign_in(make_user(group="auditor")), make_episode()

    assert 'id="review"' not in client.get(page_of(episode)).text
    assert client.post(f"{LIST}{episode.pk}/review/", {"kind": "acknowledge"}).status_code == 403
    forged = {"action": "acknowledge_chosen", "_selected_action": episode.pk, "index": 0}
    assert client.post(LIST, forged).status_code == 403
    assert not Review.objects.filter(episode_key=episode.key).exists()


def test_reviews_are_shown_only_with_their_permission(client, person):
    episode = make_episode()
    comment(episode_key=episode.key, author=person, text="Seen by the night shift.")

    assert "Seen by the night shift." in client.get(page_of(episode)).text
    assert "Seen by the night shift." not in sign_in(make_user("view_episode")).get(page_of(episode)).text


def test_only_an_auditor_is_offered_copies(client):
    assert "episodes/export" not in client.get(LIST).text
    assert "episodes/export?format=csv" in sign_in(make_user(group="auditor")).get(LIST).text


def exported(client, search: str) -> list[str]:
    """Return the keys that the list's CSV export has after a search."""
    (link,) = re.findall(r'href="([^"]+/export\?format=csv[^"]*)"', client.get(LIST, {"q": search}).text)
    answer = client.get(unescape(link))
    assert answer.status_code == 200
    return [row["key"] for row in csv.DictReader(io.StringIO(answer.getvalue().decode("utf-8-sig")))]


def test_an_export_has_what_the_search_box_found():
    client, value = sign_in(make_user(group="auditor")), secrets.token_hex(12)
    first, second = (make_episode(make_identity(name(), shop=value, number=number)) for number in "12")

    assert exported(client, str(first.key)) == [str(first.key)]
    assert exported(client, second.key.hex) == [str(second.key)]
    assert exported(client, second.alertname) == [str(second.key)]
    assert exported(client, f'shop="{value}", number=1, ') == [str(first.key)]
    assert exported(client, f"={value}") == []


def test_no_export_is_offered_of_more_labels_than_it_takes():
    client, labels = sign_in(make_user(group="auditor")), {f"l{number}": "x" for number in range(11)}
    alert = name()
    episode = make_episode(make_identity(alert, **labels))

    page = client.get(LIST, {"q": ",".join(f"{label}=x" for label in labels), "alertname": alert}).text

    assert page_of(episode) in page
    assert "episodes/export" not in page


def test_a_review_is_never_a_get_and_never_without_a_token(person):
    episode = make_episode()

    assert sign_in(person).get(f"{LIST}{episode.pk}/review/").status_code == 405
    careless = sign_in(person, enforce_csrf_checks=True)
    assert careless.post(f"{LIST}{episode.pk}/review/", {"kind": "acknowledge"}).status_code == 403
    assert not Review.objects.filter(episode_key=episode.key).exists()


# --- The list ----------------------------------------------------------------------------------------------


def test_the_list_says_what_matters(client, person):
    episode = make_episode(make_identity(name()), state="firing")
    acknowledge(episode_key=episode.key, author=person)
    page = client.get(f"{LIST}?alertname={episode.alertname}").text

    for word in ("firing", "critical", episode.alertname, episode.summary, "2026-11-20 13:00:00", person.username):
        assert word in page
    assert "waiting" in page  # for its seal


def test_the_menu_and_the_pages_use_one_word(client):
    for page in (client.get(LIST).text, client.get(page_of(make_episode())).text):
        assert page.count("Alerts") >= 2  # the menu and the breadcrumb
        assert "Episodes" not in page


def test_each_filter_narrows_down(client, person):
    alert = name()
    plain = make_episode(make_identity(alert))
    other = make_episode(make_identity(alert, severity="warning", shop="x"), state="firing")
    acknowledge(episode_key=other.key, author=person)
    mark_as_noise(episode_key=other.key, author=person, reason="A test.")

    for query in (
        "state=firing",
        "severity=warning",
        "acknowledged=true",
        "noise=true",
        "q=shop%3Dx",
        f"q={other.key}",
    ):
        assert shown(client.get(f"{LIST}?alertname={alert}&{query}").text) == [other.pk]
    for query in ("state=resolved", "severity=critical", "acknowledged=false", "noise=false", f"q={plain.key}"):
        assert shown(client.get(f"{LIST}?alertname={alert}&{query}").text) == [plain.pk]
    assert shown(client.get(f"{LIST}?q={alert}").text) == [other.pk, plain.pk]


def test_a_period_narrows_down(client):
    alert = name()
    make_episode(make_identity(alert), starts_at=NOON - timedelta(days=400))
    now = make_episode(make_identity(alert), starts_at=NOON + timedelta(days=36500))

    assert shown(client.get(f"{LIST}?alertname={alert}&opened=24h").text) == [now.pk]


@pytest.mark.parametrize("query", ["state=open", "acknowledged=1", "noise=yes", "opened=2h", "before=x"])
def test_a_filter_that_makes_no_sense_is_refused(client, query):
    assert client.get(f"{LIST}?{query}").headers["Location"] == f"{LIST}?e=1"


@pytest.mark.parametrize("query", ["summary__icontains=x", "identity__labels=x", "memory=x"])
def test_a_field_without_a_filter_cannot_be_filtered(client, query):
    assert client.get(f"{LIST}?{query}").status_code == 400


@pytest.mark.parametrize(
    "query", ["q=%00", f"q={'x' * 5000}", "q==", "q=a%3D%00", "severity=none-such", "alertname=%00", "o=1", "all=1"]
)
def test_odd_words_find_nothing_and_break_nothing(client, query):
    assert client.get(f"{LIST}?{query}").status_code == 200


def test_pages_go_on_below_a_number_and_end(client, monkeypatch):
    monkeypatch.setattr("alerts_audit.admin.episodes.EpisodeAdmin.list_per_page", 2)
    alert = name()
    made = [make_episode(make_identity(alert)).pk for _ in range(3)][::-1]
    first = client.get(f"{LIST}?alertname={alert}")

    assert shown(first.text) == made[:2]
    assert f"?alertname={alert}&amp;before={made[1]}" in first.text
    second = client.get(f"{LIST}?before={made[1]}&alertname={alert}")
    assert shown(second.text) == made[2:]


def test_a_list_of_one_page_offers_no_other(client, monkeypatch):
    monkeypatch.setattr("alerts_audit.admin.episodes.EpisodeAdmin.list_per_page", 2)
    alert = name()
    newest = [make_episode(make_identity(alert)) for _ in range(2)][1]
    assert ">Older<" not in client.get(f"{LIST}?alertname={alert}").text

    assert ">Newest<" in client.get(f"{LIST}?alertname={alert}&before={newest.pk}").text
    make_episode(make_identity(alert))
    assert ">Older<" in client.get(f"{LIST}?alertname={alert}").text


def test_a_page_looks_at_a_bounded_part_and_says_so(client, person, monkeypatch):
    monkeypatch.setattr(episode_pages, "WINDOW", 2)
    alert = name()
    wanted = make_episode(make_identity(alert))
    others = [make_episode(make_identity(alert)) for _ in range(2)]
    acknowledge(episode_key=wanted.key, author=person)
    first = client.get(f"{LIST}?alertname={alert}&acknowledged=true").text

    assert shown(first) == []
    assert "Searched 2 rows" in first
    older = client.get(f"{LIST}?alertname={alert}&acknowledged=true&before={others[0].pk}")
    assert shown(older.text) == [wanted.pk]


def test_the_list_costs_the_same_however_long_it_is_and_counts_nothing(client, django_assert_max_num_queries):
    alert = name()
    for _ in range(30):
        make_episode(make_identity(alert))
    client.get(LIST)
    with django_assert_max_num_queries(16) as queries:
        client.get(f"{LIST}?alertname={alert}")

    text = " ".join(query["sql"] for query in queries)
    assert "COUNT(" not in text
    assert "OFFSET" not in text
    assert "DISTINCT" not in text


def test_looking_at_the_list_is_recorded_once(client, person):
    client.get(f"{LIST}?state=firing")

    (seen,) = View.objects.filter(user_id=person.pk)
    assert (seen.what, seen.key, seen.user) == ("episodes", "state=firing", person.username)


def test_a_list_that_another_method_draws_is_recorded_too(client, person):
    episode = make_episode(make_identity(name()))

    assert client.post(f"{LIST}?alertname={episode.alertname}").status_code == 200
    assert client.options(page_of(episode)).status_code == 200
    seen = View.objects.filter(user_id=person.pk).order_by("id").values_list("what", "key")
    assert list(seen) == [("episodes", f"alertname={episode.alertname}"), ("episode", str(episode.pk))]


def test_many_are_acknowledged_at_once(client, person):
    alert = name()
    new, old = (make_episode(make_identity(alert)) for _ in range(2))
    acknowledge(episode_key=old.key, author=responder())
    chosen = {"action": "acknowledge_chosen", "_selected_action": [new.pk, old.pk], "index": 0}
    page = client.post(LIST, chosen, follow=True).text

    assert "You acknowledged 1 alert." in page
    assert "1 alert had an acknowledgement before; the first one counts." in page
    assert Review.objects.get(episode_key=new.key).author == person.username


# --- One episode -------------------------------------------------------------------------------------------


def tell_story(episode):
    """As the projection leaves it: two deliveries, each with a transition."""
    for state, before in (("firing", None), ("resolved", "firing")):
        row = record_delivery(
            source="alertmanager",
            body=alertmanager_body(episode.alertname, status=state),
            content_type=None,
            content_encoding=None,
            request_id=None,
        )
        Transition.objects.create(
            id=row.pk + 10**15,
            episode=episode,
            input_number=episode.last_input,
            from_state=before,
            to_state=state,
            at=episode.starts_at,
            source="alertmanager",
            delivery_id=row.pk,
        )


def test_a_delivery_that_was_archived_is_named_with_its_archive(client):
    episode, number = make_episode(make_identity(name())), archived_delivery()
    told_by(episode, number)
    page = client.get(page_of(episode)).text

    assert f'href="{DELIVERIES}{number}/change/">delivery {number}</a>' in page
    assert "archived: alert-trail-0-9.jsonl.gz" in page


def test_a_delivery_that_is_in_no_archive_either_is_no_archived_one(client):
    episode = make_episode(make_identity(name()))
    gone = told_by(episode, 10**16 + episode.pk)
    page = client.get(page_of(episode)).text

    assert f"<span>delivery {gone}</span>" in page
    assert "is neither here nor in an archive: run verify_audit" in page


def test_the_page_shows_the_whole_history(client, person):
    episode = make_episode(make_identity(name(), instance="web-1"))
    tell_story(episode)
    comment(episode_key=episode.key, author=person, text="The gateway was down.")
    page = client.get(page_of(episode)).text

    assert page.index("firing → resolved") < page.index("The gateway was down.")
    assert "instance=web-1" in page
    assert "10 min<" in page
    assert View.objects.filter(user_id=person.pk, what="episode", key=str(episode.pk)).count() == 1


def test_the_page_reads_each_table_of_the_projection_once(client):
    episode = make_episode()
    tell_story(episode)
    with CaptureQueriesContext(connection) as queries:
        client.get(page_of(episode))

    text = " ".join(query["sql"] for query in queries)
    tables = ("episode", "transition", "delivery", "archive")
    assert [text.count(f'FROM "alerts_audit_{table}"') for table in tables] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        ("acknowledge", "", "You acknowledged the alert."),
        ("comment", "Looking.", "Your comment is stored."),
        ("noise", "Too low.", "The alert is marked as noise."),
        ("incident", "https://incidents.example/7", "The alert is linked to the incident."),
    ],
)
def test_each_review_can_be_made_on_the_page(client, person, kind, text, says):
    episode = make_episode()
    page = client.post(f"{LIST}{episode.pk}/review/", {"kind": kind, "text": text}, follow=True).text

    assert says in page
    assert Review.objects.get(episode_key=episode.key).kind == kind
    assert escape(text) in page


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"kind": "comment"}, "Write a comment."),
        ({"kind": "comment", "text": "\u200b\u2060"}, "Write a comment."),
        ({"kind": "noise", "text": " "}, "Enter the reason for noise."),
        ({"kind": "incident", "text": "javascript:alert(1)"}, "begins with http:// or https://"),
        ({"kind": "delete"}, "Unknown kind of review"),
        ({}, "Unknown kind of review"),
    ],
)
def test_a_review_that_says_nothing_is_a_message_and_no_error_page(client, form, says):
    episode = make_episode()
    reply = client.post(f"{LIST}{episode.pk}/review/", form, follow=True)

    assert reply.status_code == 200
    assert says in reply.text
    assert not Review.objects.filter(episode_key=episode.key).exists()


def test_a_second_acknowledgement_is_a_message(client):
    first, episode = responder(), make_episode()
    acknowledge(episode_key=episode.key, author=first)
    page = client.post(f"{LIST}{episode.pk}/review/", {"kind": "acknowledge"}, follow=True).text

    assert f"{first.username} acknowledged the alert at" in page


def test_an_unknown_id_is_not_found(client):
    assert client.get(f"{LIST}{2**62}/change/").headers["Location"] == "/admin/"
    assert client.post(f"{LIST}{2**62}/review/", {"kind": "acknowledge"}).status_code == 404
    assert client.get(f"{LIST}{2**62}/runbook/").status_code == 404


BAD = "<script>alert(1)</script>{{ 7*7 }}"


def test_foreign_text_is_shown_and_never_run(client, person):
    identity = make_identity(f"{name()}{BAD}", severity=BAD, shop=BAD, cluster=BAD)
    links = dict.fromkeys(("runbook_url", "dashboard_url", "grafana_url"), "javascript:alert(1)")
    episode = make_episode(identity, summary=BAD, annotations={BAD: BAD, **links}, generator_url="javascript:alert(1)")
    comment(episode_key=episode.key, author=person, text=BAD)
    pages = client.get(page_of(episode)).text + client.get(f"{LIST}?q={episode.key}").text

    assert "<script>alert" not in pages
    assert 'href="javascript' not in pages
    assert pages.count(escape(BAD)) >= 6


@override_settings(GRAFANA_URL="http://grafana:3000")
def test_links_lead_to_query_dashboard_logs_and_runbook():
    runbook = "observability/runbooks/PaymentErrorRatioHigh.md"
    episode = make_episode(annotations={"runbook_url": runbook, "dashboard_url": "http://grafana:3000/d/payments"})
    found = {link["title"]: link["address"] for link in get_links(episode)}

    assert found["Runbook"] == f"{LIST}{episode.pk}/runbook/"
    assert found["Prometheus query"] == episode.generator_url
    assert found["Grafana"].startswith("http://grafana:3000/d/payments?from=")
    assert found["Logs of that minute"].startswith("http://grafana:3000/explore?")


def test_without_grafana_there_are_no_links_to_it_and_its_address_is_text(client):
    episode = make_episode(annotations={"dashboard_url": "http://127.0.0.1:3000/d/payments"})

    assert {link["title"] for link in get_links(episode)} == {"Prometheus query"}
    page = client.get(page_of(episode)).text
    assert "http://127.0.0.1:3000/d/payments" in page
    assert 'href="http://127.0.0.1:3000' not in page


def test_the_runbook_can_be_read(client):
    episode = make_episode(annotations={"runbook_url": "observability/runbooks/PaymentErrorRatioHigh.md"})

    assert "Mitigation" in client.get(f"{LIST}{episode.pk}/runbook/").text


@pytest.mark.parametrize("address", ["observability/runbooks/../../README.md", "observability/runbooks/None.md", "x"])
def test_no_other_file_is_a_runbook(client, address):
    episode = make_episode(annotations={"runbook_url": address})

    assert client.get(f"{LIST}{episode.pk}/runbook/").status_code == 404


def test_statistics_have_a_page(client):
    make_episode(make_identity(name()), starts_at=NOON + timedelta(days=36500))

    for days in ("7", "30", "x"):
        assert "Mean to acknowledge" in client.get(f"{LIST}statistics/?days={days}").text


def test_the_first_page_says_what_is_to_be_done(client, person):
    identity = make_identity(name())
    episode = make_episode(identity, state="firing")
    page = client.get("/admin/").text

    assert "of them critical" in page
    assert "not acknowledged" in page
    assert "No alert is known to be missing." in page or "open gap" in page
    acknowledge(episode_key=episode.key, author=person)
    assert client.get("/admin/").status_code == 200
    assert "alerts-now" not in sign_in(make_user()).get("/admin/").text


def test_the_first_page_counts_all_that_fires_but_the_heartbeat(client):
    Episode.objects.all().delete()
    make_episode(make_identity("Watchdog", severity="none"), state="firing")
    page = client.get("/admin/").text
    assert "No alert is firing." in page
    assert "Without the heartbeat Watchdog" in page

    make_episode(make_identity(name(), severity=""), state="firing")  # without a severity: it fires all the same
    assert "1 alert<" in client.get("/admin/").text
    assert "Without the heartbeat Watchdog" in client.get(f"{LIST}statistics/").text


@pytest.mark.parametrize(
    ("runs", "says"),
    [
        ([(0, [])], "had no findings."),
        ([(0, [{"what": "delivery 3"}])], "had findings"),
        ([(1, [{"what": "delivery 3"}]), (0, [])], "AuditBroken fires"),
        ([(3, [{"what": "delivery 3"}]), (0, [])], "had no findings."),
        ([(4, [])], "UTC, without findings."),
    ],
    ids=["right", "wrong", "wrong lately", "wrong long ago", "old"],
)
def test_the_first_page_calls_the_trail_verified_when_no_alert_says_otherwise(runs, says):
    now = timezone.now() + timedelta(days=36500)  # long after all other tests' verifications
    for hours, findings in runs:
        at = now - timedelta(hours=hours)
        Verification.objects.create(at=at, seconds=1, tree_size=7, covered={}, findings=findings)
    page = render_to_string("alerts_audit/dashboard_alerts.html", verified(now))

    assert says in page
    assert (">verified<" in "".join(page.split())) == (says == "had no findings.")


def test_a_trail_that_was_never_verified_is_not_called_verified():
    assert "The trail has never been verified." in render_to_string(
        "alerts_audit/dashboard_alerts.html", {"verification": None}
    )


def test_a_delivery_that_is_looked_at_or_downloaded_is_recorded(client, person):
    delivery = Delivery.objects.create(source="alertmanager", body=b"{}", size=2, sha256=b"x" * 32)
    client.get(f"/admin/alerts_audit/delivery/{delivery.pk}/change/")
    client.get(f"/admin/alerts_audit/delivery/{delivery.pk}/body")

    seen = View.objects.filter(user_id=person.pk).order_by("id").values_list("what", "key")
    assert list(seen) == [("delivery", str(delivery.pk)), ("delivery body", str(delivery.pk))]
