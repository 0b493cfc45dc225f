"""Gaps, the signed log, reviews, views and tokens in the admin."""

import secrets
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from alerts_audit.models import AccessToken, Checkpoint, Delivery, Envelope, Gap, Leaf, OpenGap, Verification, View
from alerts_audit.permissions import authenticate_user
from alerts_audit.reviews.services import link_incident
from alerts_audit.tests.factories import NOON, archived_delivery, make_episode, make_user, responder, sign_in
from fintech.http.problems import Problem

pytestmark = pytest.mark.django_db

ADMIN = "/admin/alerts_audit/"
BAD = "<script>alert(1)</script>"


@pytest.fixture
def client() -> Client:
    return sign_in(make_user(group="auditor"))


@pytest.fixture
def root() -> Client:
    return sign_in(User.objects.create(username=secrets.token_hex(12), is_staff=True, is_superuser=True))


def make_gap(*, closed: bool = False, **fields) -> Gap:
    fields = {"reason": "outage", "subject": secrets.token_hex(12), "since": NOON, **fields}
    gap = Gap.objects.create(**fields)
    if closed:
        Gap.objects.create(**{**fields, "closes": gap, "until": NOON + timedelta(hours=1)})
    else:
        OpenGap.objects.create(gap=gap, reason=gap.reason, subject=gap.subject)
    return gap


# --- Gaps --------------------------------------------------------------------------------------------------


def test_open_gaps_come_first(client):
    still_open, closed = make_gap(), make_gap(closed=True)
    page = client.get(f"{ADMIN}gap/").text

    assert page.index(still_open.subject) < page.index(closed.subject)
    assert "1 h" in page
    assert page.count(still_open.subject) == page.count(closed.subject)


def test_each_open_gap_is_on_one_page_also_beyond_those_that_come_first(client, monkeypatch):
    monkeypatch.setattr("alerts_audit.admin.gaps.MAX_OPEN", 1)
    monkeypatch.setattr("alerts_audit.admin.gaps.GapAdmin.list_per_page", 1)
    reason = "silenced"
    gaps = [make_gap(reason=reason), make_gap(reason=reason), make_gap(closed=True, reason=reason)]

    pages = [client.get(f"{ADMIN}gap/?reason={reason}").text]
    pages += [client.get(f"{ADMIN}gap/?reason={reason}&before={gap.pk}").text for gap in reversed(gaps)]

    found = [[gap.subject for gap in gaps if gap.subject in page] for page in pages]
    oldest, newest, closed = (gap.subject for gap in gaps)
    assert found == [[newest, closed], [], [oldest], []]


def test_gaps_are_filtered_by_state_and_reason(client):
    still_open, silenced = make_gap(), make_gap(closed=True, reason="silenced")

    for query in ("state=open", "reason=outage"):
        page = client.get(f"{ADMIN}gap/?{query}").text
        assert still_open.subject in page
        assert silenced.subject not in page
    assert silenced.subject in client.get(f"{ADMIN}gap/?state=closed").text
    assert client.get(f"{ADMIN}gap/?state=ajar").headers["Location"] == f"{ADMIN}gap/?e=1"


def test_a_gap_can_be_looked_at_and_runs_nothing(client):
    gap = make_gap(labels={"alertname": BAD, "x": BAD}, details={"why": BAD}, subject=BAD + secrets.token_hex(4))
    page = client.get(f"{ADMIN}gap/{gap.pk}/change/").text + client.get(f"{ADMIN}gap/").text

    assert BAD not in page
    assert "&lt;script&gt;alert(1)" in page


def close(person: Client, gap: Gap, **form: str):
    return person.post(f"{ADMIN}gap/{gap.pk}/close/", form, follow=True)


def test_a_responder_closes_a_gap_and_says_why():
    person, gap = responder(), make_gap()
    client = sign_in(person)
    assert 'id="close"' in client.get(f"{ADMIN}gap/{gap.pk}/change/").text
    page = close(client, gap, note="The gateway was being moved.").text

    assert "You closed the gap." in page
    closing = Gap.objects.get(closes=gap)
    assert closing.details["by"] == person.username
    assert closing.details["note"] == "The gateway was being moved."
    assert timezone.now() - closing.at < timedelta(minutes=1)
    assert not OpenGap.objects.filter(pk=gap.pk).exists()
    assert 'id="close"' not in page
    assert "The gateway was being moved." in page


def test_a_viewer_cannot_close_a_gap(client):
    gap = make_gap()

    assert 'id="close"' not in client.get(f"{ADMIN}gap/{gap.pk}/change/").text
    for person in (client, sign_in(make_user("review_episode")), sign_in(make_user())):
        assert close(person, gap, note="I have seen it.").status_code == 403
    assert OpenGap.objects.filter(pk=gap.pk).exists()


@pytest.mark.parametrize(
    ("note", "says"),
    [
        ("", "Enter your findings."),
        (" \n", "Enter your findings."),
        ("a\0b", "NUL"),
        ("paid with 4242 4242 4242 4242", "looks like a card number"),
        ("x" * 4001, "at most 4000 characters"),
    ],
)
def test_a_gap_is_not_closed_without_a_note_that_can_be_kept(note, says):
    gap = make_gap()
    page = close(sign_in(responder()), gap, note=note)

    assert says in page.text
    assert OpenGap.objects.filter(pk=gap.pk).exists()


def test_a_gap_is_closed_once():
    gap = make_gap(closed=True)
    page = close(sign_in(responder()), gap, note="I was too late.")

    assert "The gap was already closed." in page.text
    assert Gap.objects.filter(closes=gap).count() == 1


def test_a_gap_is_never_closed_by_a_get_nor_without_a_token():
    gap, person = make_gap(), responder()

    assert sign_in(person).get(f"{ADMIN}gap/{gap.pk}/close/").status_code == 405
    assert close(sign_in(person, enforce_csrf_checks=True), gap, note="Forged.").status_code == 403
    assert sign_in(person).post(f"{ADMIN}gap/{2**62}/close/", {"note": "x"}).status_code == 404
    assert OpenGap.objects.filter(pk=gap.pk).exists()


# --- The signed log ----------------------------------------------------------------------------------------


def test_a_checkpoint_can_be_read_and_downloaded(client):
    note = "fintech/audit\n7\nroot\n\n— fintech sig\n"
    checkpoint = Checkpoint.objects.create(
        size=7, root=b"r" * 32, at=timezone.now(), key_id="abcd", note=note, frontier=[]
    )
    assert note in client.get(f"{ADMIN}checkpoint/{checkpoint.pk}/change/").text
    reply = client.get(f"{ADMIN}checkpoint/{checkpoint.pk}/note")

    assert reply.text == note
    assert reply["Content-Disposition"] == 'attachment; filename="checkpoint-7.txt"'
    assert View.objects.filter(what="checkpoint note", key="7").exists()


@pytest.mark.parametrize("path", [f"checkpoint/{2**62}/note", "checkpoint/0/note"])
def test_a_checkpoint_that_does_not_exist_is_not_found(client, path):
    assert client.get(ADMIN + path).status_code == 404


def test_an_unsealed_row_has_no_proof_but_a_reason(client):
    delivery = Delivery.objects.create(source="alertmanager", body=b"{}", size=2, sha256=b"x" * 32)
    page = client.get(f"{ADMIN}delivery/{delivery.pk}/proof", follow=True).text

    assert "is not sealed yet" in page


def test_each_row_of_the_log_says_whether_it_is_sealed(client):
    delivery = Delivery.objects.create(source="alertmanager", body=b"{}", size=2, sha256=b"x" * 32)
    page = f"{ADMIN}delivery/{delivery.pk}/change/"
    assert "Not sealed yet." in client.get(page).text

    Leaf.objects.create(number=10**15, kind="delivery", ref=delivery.pk, hash=b"h" * 32)
    Checkpoint.objects.create(
        size=10**15 + 1, root=b"r" * 32, at=timezone.now(), key_id="abcd", note="note", frontier=[]
    )
    assert f"leaf {10**15}, sealed by" in client.get(page).text
    assert f"{ADMIN}delivery/{delivery.pk}/proof" in client.get(page).text


@pytest.mark.parametrize("subject", ["delivery", "review", "gap"])
def test_a_proof_needs_the_permission(subject):
    assert sign_in(make_user()).get(f"{ADMIN}{subject}/1/proof").status_code == 403


def test_a_verification_says_what_is_wrong(client):
    fields = {"seconds": 1.5, "tree_size": 7, "covered": {"leaves": 7}}
    good = Verification.objects.create(**fields, findings=[])
    bad = Verification.objects.create(**fields, findings=[{"what": "delivery 3", "why": "changed"}])
    page = client.get(f"{ADMIN}verification/").text

    assert "nothing wrong" in page
    assert "1 finding" in page
    assert "delivery 3" in client.get(f"{ADMIN}verification/{bad.pk}/change/").text
    assert client.get(f"{ADMIN}verification/{good.pk}/change/").status_code == 200


# --- Deliveries, reviews, views ------------------------------------------------------------------------------


def test_a_delivery_that_was_archived_has_a_page_that_says_where_it_is(client):
    number = archived_delivery()
    page = client.get(f"{ADMIN}delivery/{number}/change/")

    assert page.status_code == 200
    for word in (
        f"Delivery {number} was archived",
        "alert-trail-0-9.jsonl.gz",
        (b"a" * 32).hex(),
        "0 to 9",
        "TargetDown (2)",
        "ann",
    ):
        assert word in page.text
    assert f"prove_delivery {number} --archive alert-trail-0-9.jsonl.gz" in page.text
    assert View.objects.filter(what="delivery", key=str(number)).exists()


def test_the_body_of_a_delivery_that_was_archived_is_gone_and_its_page_says_where_it_is(client):
    number = archived_delivery(error="It is no payload.", receiver=None, alerts=0)
    body = client.get(f"{ADMIN}delivery/{number}/body")

    assert body.status_code == 410
    assert "alert-trail-0-9.jsonl.gz" in body.text
    assert "It is no payload." in body.text
    assert View.objects.filter(what="delivery", key=str(number)).exists()
    assert "alert-trail-0-9.jsonl.gz" in client.get(f"{ADMIN}delivery/{number}/proof", follow=True).text


def test_an_archived_delivery_needs_the_permission_too():
    number, stranger = archived_delivery(), sign_in(make_user())

    for page in ("change/", "body", "proof"):
        assert stranger.get(f"{ADMIN}delivery/{number}/{page}").status_code == 403


@pytest.mark.parametrize("subject", ["delivery", "gap"])
@pytest.mark.parametrize("key", [2**62, "x", 10**19])
def test_a_missing_row_is_never_called_deleted(client, subject, key):
    page = client.get(f"{ADMIN}{subject}/{key}/change/", follow=True).text

    assert f"The {subject} {key} does not exist here. An archive may contain it." in page
    assert "deleted" not in page


@pytest.mark.parametrize("key", [2**62, 10**30, 0])
def test_the_body_of_a_delivery_that_never_was_is_not_found(client, key):
    assert client.get(f"{ADMIN}delivery/{key}/body").status_code == 404


def test_quarantined_deliveries_can_be_found_with_their_reason(client):
    good, bad = (
        Delivery.objects.create(source="alertmanager", body=b"{}", size=2, sha256=secrets.token_bytes(32))
        for _ in range(2)
    )
    Envelope.objects.create(delivery=good, input_number=10**15)
    Envelope.objects.create(delivery=bad, input_number=10**15 + 1, error=f"It is no payload. {BAD}")
    page = client.get(f"{ADMIN}delivery/?read=quarantined").text

    assert f"/delivery/{bad.pk}/change/" in page
    assert f"/delivery/{good.pk}/change/" not in page
    assert "quarantined" in page
    page = client.get(f"{ADMIN}delivery/{bad.pk}/change/").text
    assert "It is no payload. &lt;script&gt;" in page


def test_a_review_leads_to_its_episode(client):
    episode = make_episode()
    row = link_incident(episode_key=episode.key, author=make_user(), address="https://incidents.example/7")
    page = client.get(f"{ADMIN}review/").text + client.get(f"{ADMIN}review/{row.pk}/change/").text

    assert f"{ADMIN}episode/{episode.pk}/change/" in page
    assert 'href="https://incidents.example/7"' in page


def test_the_access_log_shows_the_user_and_the_object(client):
    client.get(f"{ADMIN}episode/?state=stale")

    assert "state=stale" in client.get(f"{ADMIN}view/").text


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("q=4111111111111111", "q=[card number]"),
        ("q=4111+1111%201111+1111&state=stale", "q=[card number]&state=stale"),
        ("q=%34111111111111111", "q=[card number]"),
        (f"q=tr_4x7m2qrs_{'s' * 43}", "q=tr_4x7m2qrs [secret]"),
        (f"q={'x' * 490}+4111111111111111", f"q={'x' * 490} [card n"),
        ("q=user%3Djane.doe%2Bx@example.com,a%3Db&state=stale", "q=user=[e-mail address],a=b&state=stale"),
        ("q=jane%40example.com", "q=[e-mail address]"),
        ("q=jane%2540example.com", "q=[e-mail address]"),
        ("q=instance%3Dnode@10.0.0.1:9090", "q=instance%3Dnode@10.0.0.1:9090"),
        ("q=team%3Dpayments", "q=team%3Dpayments"),
    ],
)
def test_the_access_log_keeps_no_card_number_no_key_and_no_email_address(query, kept):
    person = make_user(group="auditor")
    client = sign_in(person)

    assert client.get(f"{ADMIN}episode/?{query}").status_code == 200

    assert View.objects.filter(user_id=person.pk, what="episodes").latest("id").key == kept


def test_the_access_log_names_the_user_whose_account_is_an_email_address():
    person = make_user(group="auditor")
    person.username = f"{secrets.token_hex(6)}@example.com"
    person.save()

    assert sign_in(person).get(f"{ADMIN}episode/?q={person.username}").status_code == 200

    view = View.objects.get(user_id=person.pk)
    assert (view.user, view.key) == (person.username, "q=[e-mail address]")


# --- Access tokens -------------------------------------------------------------------------------------------


def test_a_token_is_shown_once(root):
    person = make_user("view_episode")
    made = root.post(f"{ADMIN}accesstoken/add/", {"user": person.pk, "name": "dashboard"})
    row = AccessToken.objects.get(user=person)
    secret = made.text.split('id="secret">')[1].split("<")[0]

    assert authenticate_user(f"Bearer {secret}") == person
    assert secret not in root.get(f"{ADMIN}accesstoken/{row.pk}/change/").text
    assert "no-store" in made["Cache-Control"]


def test_only_a_superuser_creates_a_token_for_another_user():
    """Anyone with the permission could create one for a superuser, and so have all permissions of the API."""
    person, superuser = make_user("view_accesstoken", "add_accesstoken"), make_user(is_superuser=True)
    client = sign_in(person)

    page = client.post(f"{ADMIN}accesstoken/add/", {"user": superuser.pk, "name": "dashboard"})
    assert page.status_code == 200
    assert "Select a valid choice" in page.text
    assert superuser.username not in page.text
    assert not AccessToken.objects.filter(user=superuser).exists()

    assert 'id="secret"' in client.post(f"{ADMIN}accesstoken/add/", {"user": person.pk, "name": "dashboard"}).text
    assert AccessToken.objects.filter(user=person).exists()


def test_a_token_is_revoked_by_action(root):
    person = make_user()
    root.post(f"{ADMIN}accesstoken/add/", {"user": person.pk, "name": "dashboard"})
    row = AccessToken.objects.get(user=person)
    root.post(f"{ADMIN}accesstoken/", {"action": "revoke", "_selected_action": row.pk, "index": 0})

    assert AccessToken.objects.get(pk=row.pk).revoked_at is not None


def test_tokens_need_the_permission_to_create_them(client):
    assert client.get(f"{ADMIN}accesstoken/").status_code == 403
    assert client.post(f"{ADMIN}accesstoken/add/", {"user": 1, "name": "x"}).status_code == 403


def test_a_token_cannot_have_expired_before_it_is_made(root):
    body = {"user": make_user().pk, "name": "x", "expires_at_0": "2020-01-01", "expires_at_1": "00:00:00"}

    assert "a time in the future" in root.post(f"{ADMIN}accesstoken/add/", body).text


def test_the_command_prints_a_token_that_works(capsys):
    person = make_user()
    call_command("alert_token", person.username, "--name=report", "--days=7")
    printed = capsys.readouterr()

    assert authenticate_user(f"Bearer {printed.out.strip()}") == person
    assert AccessToken.objects.get(user=person).expires_at is not None


@pytest.mark.parametrize(
    "arguments", [["unknown", "--name=x"], ["{user}", "--name="], ["{user}", "--name=x", "--days=0"]]
)
def test_the_command_refuses_in_one_sentence(arguments):
    user = make_user()
    with pytest.raises(CommandError):
        call_command("alert_token", *(word.format(user=user.username) for word in arguments))
    assert not AccessToken.objects.filter(user=user).exists()


def test_a_token_is_no_api_key_of_a_merchant_and_the_other_way_round():
    with pytest.raises(Problem, match="A merchant's API key is not an access token"):
        authenticate_user("Bearer fk_12345678_abc")
