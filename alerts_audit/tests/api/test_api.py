"""The trail's API: who may read and say what, pages, filters, and that nothing wrong is ever a 500."""

import secrets
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from alerts_audit.models import AccessToken, Checkpoint, Gap, Review, View
from alerts_audit.permissions import issue_token, revoke_token
from alerts_audit.reviews.services import acknowledge, mark_as_noise
from alerts_audit.seal.signed_notes import SigningKey, checkpoint_note, new_key
from alerts_audit.seal.standalone import Note, PublicKey
from alerts_audit.tests.factories import (
    NOON,
    Api,
    archived_delivery,
    make_episode,
    make_identity,
    make_user,
    responder,
    sign_in,
    told_by,
)

pytestmark = pytest.mark.django_db

NO_EPISODE = "2e8a3710-0d58-4bca-97be-35550382ae6f"
PATHS = ["episodes", "episodes/export", f"episodes/{NO_EPISODE}", "gaps", "statistics", "checkpoints"]


@pytest.fixture
def api() -> Api:
    return Api(responder())


def name() -> str:
    return f"Alert{secrets.token_hex(6)}"


def keys(reply) -> list[str]:
    assert reply.status_code == 200, reply.text
    return [episode["key"] for episode in reply.json()["data"]]


def problem(reply) -> tuple[int, str, str | None]:
    assert reply["Content-Type"] == "application/problem+json"
    return reply.status_code, reply.json()["code"], reply.json().get("param")


# --- Who may -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
def test_a_stranger_is_refused(path):
    assert problem(Client().get(f"/v1/alerts/{path}"))[:2] == (401, "missing_token")


@pytest.mark.parametrize("header", ["Bearer", "Bearer x", "Basic eDp5", "Bearer fk_12345678_abcdef", "Bearer \xff\x00"])
def test_a_malformed_token_is_refused(header):
    reply = Client(headers={"Authorization": header}).get("/v1/alerts/episodes")

    assert problem(reply)[:2] == (401, "invalid_token")
    assert reply["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("path", PATHS)
def test_a_person_without_permission_is_refused(path):
    assert problem(Api(make_user()).get(path))[:2] == (403, "forbidden")


def test_a_revoked_or_expired_token_and_an_inactive_person_are_refused():
    user = make_user("view_episode")
    _, expired = issue_token(user=user, name="a", expires_at=timezone.now() - timedelta(seconds=1))
    gone, revoked = issue_token(user=user, name="b")
    revoke_token(gone)
    inactive = Api(make_user("view_episode", is_active=False)).token

    for token, code in ((expired, "expired_token"), (revoked, "revoked_token"), (inactive, "inactive_user")):
        reply = Client(headers={"Authorization": f"Bearer {token}"}).get("/v1/alerts/episodes")
        assert problem(reply)[:2] == (401, code)


def test_a_token_is_not_kept_in_the_clear():
    row, token = issue_token(user=make_user(), name="test")

    assert token.encode() not in bytes(AccessToken.objects.get(pk=row.pk).sha256)
    assert token.startswith(row.prefix)


def test_the_admins_cookie_is_enough_to_read():
    episode = make_episode()

    assert sign_in(responder()).get(f"/v1/alerts/episodes/{episode.key}").json()["key"] == str(episode.key)


def test_a_review_by_cookie_needs_the_csrf_token():
    path, user = f"/v1/alerts/episodes/{make_episode().key}/reviews", responder()
    strict = sign_in(user, enforce_csrf_checks=True)
    body = {"kind": "acknowledge"}

    assert problem(strict.post(path, body, content_type="application/json"))[:2] == (403, "csrf_failed")
    strict.get("/admin/")
    strict.get("/admin/password_change/")
    header = {"X-CSRFToken": strict.cookies["csrftoken"].value}
    assert strict.post(path, body, content_type="application/json", headers=header).status_code == 201


@pytest.mark.parametrize("content_type", ["multipart/form-data", "application/x-www-form-urlencoded", "text/plain", ""])
def test_a_review_by_cookie_is_json(content_type):
    path, browser = f"/v1/alerts/episodes/{make_episode().key}/reviews", sign_in(responder(), enforce_csrf_checks=True)
    browser.get("/admin/password_change/")  # which sets the CSRF cookie

    reply = browser.post(path, b"{}", content_type=content_type)

    assert problem(reply)[:2] == (415, "unsupported_media_type")


def test_a_viewer_cannot_review(api):
    looker = Api(make_user("view_episode"))

    assert problem(looker.post(f"episodes/{make_episode().key}/reviews", {"kind": "acknowledge"}))[0] == 403
    assert problem(api.get("episodes/export"))[:2] == (403, "forbidden")


def test_reviews_need_their_own_permission():
    episode, reviewer = make_episode(), Api(responder())
    reviewer.post(f"episodes/{episode.key}/reviews", {"kind": "comment", "text": "Seen."})
    looker = Api(make_user("view_episode"))

    assert [row["text"] for row in reviewer.get(f"episodes/{episode.key}").json()["reviews"]] == ["Seen."]
    assert looker.get(f"episodes/{episode.key}").json()["reviews"] == []
    assert problem(looker.get(f"episodes/{episode.key}/reviews"))[:2] == (403, "forbidden")


@pytest.mark.parametrize(("permissions", "shown"), [([], False), (["view_review"], True)])
def test_the_reason_for_noise_is_the_text_of_a_review(permissions, shown):
    episode = make_episode(make_identity(name()))
    mark_as_noise(episode_key=episode.key, author=responder(), reason="a secret")
    looker = Api(make_user("view_episode", "export_trail", *permissions))
    query = {"alertname": episode.alertname}

    replies = [looker.get(f"episodes/{episode.key}"), looker.get("episodes", **query)]
    replies += [looker.get("episodes/export", format=form, **query) for form in ("csv", "json")]
    texts = [reply.getvalue().decode() for reply in replies]

    assert all(str(episode.key) in text for text in texts)
    assert [("a secret" in text) for text in texts] == [shown] * 4


# --- Lists -------------------------------------------------------------------------------------------------


def test_pages_are_newest_first_and_complete(api):
    alert = name()
    made = [str(make_episode(make_identity(alert)).key) for _ in range(5)]

    first = api.get("episodes", alertname=alert, limit=2)
    second = api.get(first.json()["next"])
    third = api.get(second.json()["next"])

    assert keys(first) + keys(second) + keys(third) == made[::-1]
    assert third.json()["next"] is None


def cursor_of(page) -> str:
    return page.json()["next"].rpartition("cursor=")[2]


def test_an_altered_cursor_is_refused(api):
    alert = name()
    for _ in range(2):
        make_episode(make_identity(alert))
    cursor = cursor_of(api.get("episodes", alertname=alert, limit=1))

    others = [
        cursor[:place] + ("B" if letter == "A" else "A") + cursor[place + 1 :] for place, letter in enumerate(cursor)
    ]
    for other in [*others, cursor[:-1], cursor + "A", "OTk5", "", "%%", "LTE", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OQ"]:
        assert problem(api.get("episodes", alertname=alert, cursor=other)) == (400, "invalid_cursor", "cursor")


def test_a_cursor_of_another_list_is_refused(api):
    for _ in range(2):
        Gap.objects.create(reason="outage", subject=secrets.token_hex(12), since=NOON)
    cursor = cursor_of(api.get("gaps", reason="outage", limit=1))

    assert api.get("gaps", reason="outage", cursor=cursor).status_code == 200
    for path in ("episodes", "checkpoints"):
        assert problem(api.get(path, cursor=cursor)) == (400, "invalid_cursor", "cursor")


def test_an_episode_is_shown_with_its_labels_and_reviews(api):
    episode = make_episode(make_identity(name(), instance="web-1", cluster="eu"))
    acknowledge(episode_key=episode.key, author=api.user)

    (shown,) = api.get("episodes", alertname=episode.alertname).json()["data"]
    assert shown["labels"] == {"alertname": episode.alertname, "severity": "critical", "instance": "web-1"}
    assert (shown["state"], shown["cluster"], shown["duration_seconds"]) == ("resolved", "eu", 600)
    assert shown["acknowledged"]["by"] == api.user.username
    assert (shown["noise"], shown["seal"]) == (None, "waiting")


@pytest.mark.parametrize(
    "filters",
    [
        {"state": "firing"},
        {"severity": "warning"},
        {"label": "instance=web-2"},
        {"label": ["instance=web-2", "severity=warning"]},
        {"cluster": "us"},
        {"opened_from": "2026-11-21T00:00:00Z"},
        {"acknowledged": "true"},
        {"noise": "true"},
        {"state": "firing", "noise": "true", "acknowledged": "true", "severity": "warning", "cluster": "us"},
    ],
)
def test_each_filter_finds_its_episode_and_no_other(api, filters):
    alert = name()
    make_episode(make_identity(alert, instance="web-1"))
    wanted = make_episode(
        make_identity(alert, severity="warning", instance="web-2", cluster="us"),
        state="firing",
        starts_at=NOON + timedelta(days=1),
    )
    acknowledge(episode_key=wanted.key, author=api.user)
    mark_as_noise(episode_key=wanted.key, author=api.user, reason="A test.")

    assert keys(api.get("episodes", alertname=alert, **filters)) == [str(wanted.key)]


def test_the_key_finds_its_episode_alone(api):
    wanted, _ = make_episode(), make_episode()

    assert keys(api.get("episodes", key=str(wanted.key))) == [str(wanted.key)]


def test_the_opposite_filters_find_the_other(api):
    alert = name()
    plain = make_episode(make_identity(alert))
    wanted = make_episode(make_identity(alert), starts_at=NOON + timedelta(days=1))
    acknowledge(episode_key=wanted.key, author=api.user)
    mark_as_noise(episode_key=wanted.key, author=api.user, reason="A test.")

    for filters in ({"acknowledged": "false"}, {"noise": "false"}, {"opened_before": "2026-11-21T00:00:00Z"}):
        assert keys(api.get("episodes", alertname=alert, **filters)) == [str(plain.key)]


def test_a_label_alone_finds_all_its_episodes(api):
    value = secrets.token_hex(12)
    made = [str(make_episode(make_identity(shop=value)).key) for _ in range(3)]

    first = api.get("episodes", label=f"shop={value}", limit=2)
    assert keys(first) + keys(api.get(first.json()["next"])) == made[::-1]


def test_an_unknown_label_finds_nothing(api):
    assert api.get("episodes", label=f"shop={secrets.token_hex(12)}").json() == {"data": [], "next": None}


@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ({"colour": "red"}, "unknown_parameter", "colour"),
        ({"state": "open"}, "invalid_parameter", "state"),
        ({"state": ["firing", "resolved"]}, "invalid_parameter", "state"),
        ({"key": "67b2b3d54ef882d4b7e99e0f6d016714"}, "invalid_parameter", "key"),
        ({"label": "shop"}, "invalid_parameter", "label"),
        ({"label": "=x"}, "invalid_parameter", "label"),
        ({"label": ["a=1", "a=2"]}, "invalid_parameter", "label"),
        ({"label": [f"l{number}=x" for number in range(11)]}, "invalid_parameter", "label"),
        ({"label": "a=\0"}, "invalid_parameter", "label"),
        ({"alertname": "a\0"}, "invalid_parameter", "alertname"),
        ({"acknowledged": "1"}, "invalid_parameter", "acknowledged"),
        ({"opened_from": "yesterday"}, "invalid_parameter", "opened_from"),
        ({"opened_before": "2026-11-20T00:00:00"}, "invalid_parameter", "opened_before"),
        ({"opened_from": "2026-W05-1T00:00:00Z"}, "invalid_parameter", "opened_from"),
        ({"opened_from": "2026-11-٢٢T00:00:00Z"}, "invalid_parameter", "opened_from"),
        ({"limit": "0"}, "invalid_parameter", "limit"),
        ({"limit": "201"}, "invalid_parameter", "limit"),
    ],
)
def test_a_wrong_parameter_is_named(api, query, code, param):
    assert problem(api.get("episodes", **query)) == (422, code, param)


# --- One episode, and reviews ------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [NO_EPISODE, "7", "x" * 5000])
def test_an_episode_that_does_not_exist_is_not_found(api, key):
    assert problem(api.get(f"episodes/{key}"))[:2] == (404, "not_found")
    assert problem(api.post(f"episodes/{key}/reviews", {"kind": "acknowledge"}))[:2] == (404, "not_found")


@pytest.mark.parametrize("place", ["", "/reviews"])
@pytest.mark.parametrize("query", [{"colour": "red"}, {"limit": "1"}, {"state": "firing"}])
def test_reading_one_episode_takes_no_parameter(api, place, query):
    reply = api.get(f"episodes/{make_episode().key}{place}", **query)

    assert problem(reply) == (422, "unknown_parameter", *query)


def test_deliveries_that_were_archived_are_named_with_their_archive(api):
    episode, number = make_episode(), archived_delivery()
    told_by(episode, number)
    shown = api.get(f"episodes/{episode.key}").json()

    assert (shown["deliveries"], shown["missing_deliveries"]) == ([], [])
    [archived] = shown["archived_deliveries"]
    assert (archived["id"], archived["archive"]["file_name"]) == (number, "alert-trail-0-9.jsonl.gz")
    assert (archived["archive"]["first_leaf"], archived["archive"]["last_leaf"]) == (0, 9)


def test_a_delivery_that_is_in_no_archive_either_is_missing(api):
    episode = make_episode()
    gone = told_by(episode, 10**16 + episode.pk)
    shown = api.get(f"episodes/{episode.key}").json()

    assert (shown["archived_deliveries"], shown["missing_deliveries"]) == ([], [gone])


def test_a_review_is_made_and_shown(api):
    episode = make_episode()
    made = api.post(f"episodes/{episode.key}/reviews", {"kind": "comment", "text": "Looking."})

    assert made.status_code == 201
    (shown,) = api.get(f"episodes/{episode.key}").json()["reviews"]
    assert shown == {**made.json(), "leaf": None, "checkpoint_size": None}
    assert (shown["kind"], shown["text"], shown["author"]) == ("comment", "Looking.", api.user.username)
    assert [row["id"] for row in api.get(f"episodes/{episode.key}/reviews").json()["data"]] == [shown["id"]]


def test_a_second_acknowledgement_names_the_first_person(api):
    episode = make_episode()
    api.post(f"episodes/{episode.key}/reviews", {"kind": "acknowledge"})
    second = api.post(f"episodes/{episode.key}/reviews", {"kind": "acknowledge"})

    assert problem(second)[:2] == (409, "already_acknowledged")
    assert api.user.username in second.json()["detail"]
    assert Review.objects.filter(episode_key=episode.key).count() == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b'{"kind": "comment", "text": "\\ud800"}', 400, "invalid_json"),
        (b"\xff", 400, "invalid_json"),
        (b"[" * 100_000, 400, "invalid_json"),
        (b'{"kind": "noise", "kind": "comment", "text": "x"}', 400, "invalid_json"),
        (b'{"kind": "comment", "text": "x", "te\\u0078t": "y"}', 400, "invalid_json"),
        (b"[]", 422, "invalid_value"),
        (b"{}", 422, "missing_field"),
        (b'{"kind": "delete"}', 422, "invalid_value"),
        (b'{"kind": ["comment"]}', 422, "invalid_value"),
        (b'{"kind": "comment", "text": 7}', 422, "invalid_value"),
        (b'{"kind": "acknowledge", "text": false}', 422, "invalid_value"),
        (b'{"kind": "comment", "note": "x"}', 422, "unknown_field"),
        (b'{"kind": "comment"}', 422, "invalid_text"),
        (b'{"kind": "comment", "text": "\\u200b\\ufeff"}', 422, "invalid_text"),
        (b'{"kind": "comment", "text": "a\\u0000b"}', 422, "invalid_text"),
        (b'{"kind": "incident", "text": "javascript:alert(1)"}', 422, "invalid_text"),
    ],
)
def test_a_wrong_review_is_refused_and_nothing_is_kept(api, body, status, code):
    episode = make_episode()

    assert problem(api.post(f"episodes/{episode.key}/reviews", body))[:2] == (status, code)
    assert not Review.objects.filter(episode_key=episode.key).exists()


def test_a_card_number_in_a_name_is_not_repeated(api):
    answers = [
        api.post(f"episodes/{make_episode().key}/reviews", b'{"kind": "comment", "4111111111111111": "x"}'),
        api.post(f"episodes/{make_episode().key}/reviews", b'{"4111 1111 1111 1111": 1, "4111 1111 1111 1111": 2}'),
        api.get("episodes", **{"4111111111111111": "x"}),
        api.get("episodes", label=["4111111111111111=a", "4111111111111111=b"]),
    ]

    for reply in answers:
        assert reply.status_code in (400, 422)
        assert "4111" not in reply.text
        assert "[card number]" in reply.text


def test_a_review_nested_more_deeply_than_python_reads_is_refused(api):
    body = b'{"kind": "comment", "text": ' + b"[" * 1000 + b"]" * 1000 + b"}"

    reply = api.post(f"episodes/{make_episode().key}/reviews", body)

    assert problem(reply)[:2] in [(400, "invalid_json"), (422, "invalid_value")]  # as deep as this Python reads


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_nothing_can_be_changed_or_deleted(api, method):
    reply = getattr(api.client, method)(f"/v1/alerts/episodes/{make_episode().key}/reviews")

    assert problem(reply)[:2] == (405, "method_not_allowed")


# --- The rest ----------------------------------------------------------------------------------------------


def test_gaps_are_listed_with_their_ends(api):
    subject = secrets.token_hex(12)
    opened = Gap.objects.create(reason="outage", subject=subject, since=NOON)
    closing = Gap.objects.create(reason="outage", subject=subject, since=NOON, until=timezone.now(), closes=opened)

    shown = {gap["id"]: gap for gap in api.get("gaps", reason="outage").json()["data"]}
    assert shown[opened.pk]["state"] == "closed"
    assert closing.pk not in shown


@pytest.mark.parametrize("query", [{"reason": "x"}, {"state": "ajar"}, {"limit": "x"}, {"q": "x"}])
def test_gaps_refuse_what_they_do_not_know(api, query):
    assert problem(api.get("gaps", **query))[0] == 422


@pytest.mark.parametrize("days", ["0", "31", "x", "-1", "9" * 400])
def test_statistics_are_for_at_most_thirty_days(api, days):
    assert problem(api.get("statistics", days=days)) == (422, "invalid_parameter", "days")


def test_checkpoints_are_listed(api):
    assert {"note", "public_key", "data", "next"} <= api.get("checkpoints").json().keys()


def make_checkpoint(key: SigningKey, **fields: object) -> Checkpoint:
    at = timezone.now()
    return Checkpoint.objects.create(
        size=7,
        root=b"r" * 32,
        at=at,
        note=checkpoint_note(key, 7, b"r" * 32, at),
        frontier=[],
        **{"key_id": key.public.id.hex(), "public_key": str(key.public), **fields},
    )


@pytest.mark.parametrize("place", ["{tmp}/none", "{tmp}/file/below"])
def test_each_checkpoint_comes_with_the_key_that_signed_it_wherever_the_key_file_is(api, settings, tmp_path, place):
    (tmp_path / "file").touch()
    settings.AUDIT_DIR = place.format(tmp=tmp_path)
    old, new = new_key(), new_key()
    rows = [make_checkpoint(old), make_checkpoint(new)]
    shown = api.get("checkpoints").json()

    assert shown["public_keys"] == []
    assert (shown["note"], shown["public_key"]) == (rows[1].note, str(new.public))
    found = {row["note"]: (row["key_id"], row["public_key"]) for row in shown["data"]}
    assert found[rows[0].note] == (old.public.id.hex(), str(old.public))
    Note.parse(shown["note"]).signer([PublicKey.parse(shown["public_key"])])


def test_a_checkpoint_from_before_its_key_was_kept_gets_it_from_the_trust_root(api, settings, tmp_path):
    settings.AUDIT_DIR, key = tmp_path, new_key()
    make_checkpoint(key, public_key=None)
    assert api.get("checkpoints").json()["public_key"] is None

    (tmp_path / "public_keys").write_text(f"{key.public}\n")
    shown = api.get("checkpoints").json()
    assert (shown["public_key"], shown["public_keys"]) == (str(key.public), [str(key.public)])


@pytest.mark.parametrize("named", ["another", "no key", ""])
def test_a_key_that_did_not_sign_is_never_shown_for_one_that_did(api, settings, tmp_path, named):
    settings.AUDIT_DIR = tmp_path
    other = new_key()
    text = str(other.public) if named == "another" else named
    make_checkpoint(new_key(), public_key=text)
    make_checkpoint(new_key(), public_key=text, key_id=other.public.id.hex())

    assert [row["public_key"] for row in api.get("checkpoints", limit=2).json()["data"]] == [None, None]


def test_reading_is_recorded_once_for_each_request(api):
    alert = name()
    episode = make_episode(make_identity(alert))
    api.get("episodes", alertname=alert)
    api.get(f"episodes/{episode.key}")

    seen = View.objects.filter(user_id=api.user.pk).order_by("id").values_list("what", "key")
    assert list(seen) == [("episodes", f"alertname={alert}"), ("episode", str(episode.key))]


def test_a_refused_request_is_no_view(api):
    api.get("episodes", state="open")
    api.get(f"episodes/{NO_EPISODE}")

    assert not View.objects.filter(user_id=api.user.pk).exists()
