"""The alert that always fires: expected once it was seen, missed when it stops, and one message for each."""

import json
import logging
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings

from alerts_audit.completeness import telegram
from alerts_audit.completeness.heartbeat import Heartbeats, judge
from alerts_audit.completeness.telegram import TelegramError, is_configured, send_notices
from alerts_audit.models import Gap, Notice, Source
from alerts_audit.projection import project_pending
from alerts_audit.tests.completeness.servers import FakeServer, fake_server
from alerts_audit.tests.payloads import alertmanager_body
from alerts_audit.webhook.services import record_delivery

TOKEN = "123456:" + secrets.token_urlsafe(24)


@pytest.fixture
def source() -> Iterator[Source]:
    yield (found := make_source())
    Source.objects.filter(pk=found.pk).update(is_active=False)


def make_source(cluster: str | None = None) -> Source:
    name = f"beat-{secrets.token_hex(4)}"
    return Source.objects.create(name=name, cluster=cluster or name)


def beat(source: Source, *names: str, status: str = "firing") -> None:
    """A delivery of this source with these alerts."""
    record_delivery(source=source.name, body=alertmanager_body(*(names or ["Watchdog"]), status=status))
    project_pending()


def age(source: Source) -> float | None:
    heartbeats = Heartbeats()
    heartbeats.turn()
    return heartbeats.ages().get(source.name)


def limit(source: Source) -> float | None:
    heartbeats = Heartbeats()
    heartbeats.turn()
    return heartbeats.limits().get(source.name)


def miss(source: Source) -> Gap:
    """Its heartbeat is an hour old by now."""
    judge(source, datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC), lagging=False)
    return Gap.objects.open().get(reason="heartbeat", subject=source.name)


def open_gap(source: Source) -> Gap | None:
    return Gap.objects.open().filter(reason="heartbeat", subject=source.name).first()


def test_a_heartbeat_that_was_never_seen_is_not_expected(source):
    assert age(source) is None
    assert open_gap(source) is None


def test_a_delivery_with_the_alert_is_a_beat(source):
    beat(source, "Other", "Watchdog")

    assert age(source) == pytest.approx(0, abs=10)


@pytest.mark.parametrize(("name", "status"), [("Watchdog", "resolved"), ("Watchdogs", "firing")])
def test_another_alert_or_its_end_is_no_beat(source, name, status):
    beat(source, name, status=status)

    assert age(source) is None


def test_another_name_can_be_the_heartbeat(source):
    beat(source, "Watchdog")
    assert age(source) is not None
    Source.objects.filter(pk=source.pk).update(heartbeat_alert="DeadMansSwitch")
    assert age(source) is None

    beat(source, "Watchdog", "DeadMansSwitch")

    assert age(source) == pytest.approx(0, abs=10)


def test_a_beat_among_more_names_than_an_envelope_lists_counts(source):
    beat(source, *(f"Alert{number:03}" for number in range(60)), "Watchdog")

    assert age(source) == pytest.approx(0, abs=10)


def test_a_beat_of_a_peer_counts_for_the_whole_cluster(source):
    peer = make_source(source.cluster)
    beat(peer)

    assert age(source) == pytest.approx(0, abs=10)
    Source.objects.filter(pk=peer.pk).update(is_active=False)


def test_a_beat_is_remembered_by_the_next_worker(source):
    beat(source)
    first = age(source)

    assert first is not None
    assert age(source) >= first


def test_a_missing_heartbeat_is_one_gap_since_the_last_beat(source):
    last = datetime.now(UTC) - timedelta(hours=1)
    judge(source, last, datetime.now(UTC), lagging=False)
    judge(source, last, datetime.now(UTC), lagging=False)

    [gap] = Gap.objects.filter(reason="heartbeat", subject=source.name)
    assert gap.since == last
    assert gap.details == {"alertname": "Watchdog", "expected_every_seconds": 900}


def test_a_heartbeat_that_may_just_not_be_projected_is_not_missing(source):
    judge(source, datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC), lagging=True)

    assert open_gap(source) is None


def test_the_gap_is_closed_by_the_next_beat(source):
    gap = miss(source)
    beat(source)

    Heartbeats().turn()

    assert open_gap(source) is None
    assert Gap.objects.get(closes=gap).until > gap.since


def test_the_limit_is_that_of_the_source(source):
    assert limit(source) is None
    beat(source)
    assert limit(source) == 900
    Source.objects.filter(pk=source.pk).update(heartbeat_seconds=60)

    assert limit(source) == 60


@pytest.mark.parametrize("change", [{"is_active": False}, {"heartbeat_seconds": 0}])
def test_a_source_without_a_heartbeat_is_not_awaited(source, change):
    beat(source)
    miss(source)
    Source.objects.filter(pk=source.pk).update(**change)

    assert age(source) is None
    assert open_gap(source) is None


# --- Notifications ------------------------------------------------------------------------------------------


@pytest.fixture
def bot(monkeypatch) -> Iterator[FakeServer]:
    """The Bot API; what other tests left to be said has been said."""
    with fake_server(lambda path: (200, {"ok": True})) as server:
        monkeypatch.setattr(settings, "AM_TELEGRAM_BOT_TOKEN", TOKEN)
        monkeypatch.setattr(settings, "AM_TELEGRAM_CHAT_ID", "-100")
        monkeypatch.setattr(settings, "TELEGRAM_API_URL", server.url)
        Heartbeats().turn()  # closes the gaps of sources that are not active any more
        send_notices()
        server.asked.clear()
        yield server


def test_one_message_says_that_it_stopped_and_one_that_it_is_back(source, bot):
    gap = miss(source)
    send_notices()
    send_notices()
    beat(source)
    Heartbeats().turn()
    send_notices()
    send_notices()

    assert {asked.path for asked in bot.asked} == {f"/bot{TOKEN}/sendMessage"}
    stopped, back = (asked.body["text"] for asked in bot.asked)
    assert f"{gap.since:%Y-%m-%d %H:%M:%S} UTC" in stopped
    assert "MAY BE LOST" in stopped
    assert f"Watchdog of {source.name} is back" in back


def test_a_message_is_plain_text_to_the_chat(source, bot):
    miss(source)
    send_notices()

    [asked] = bot.asked
    assert asked.body.keys() == {"chat_id", "text"}  # no parse_mode: nothing in a name is markup
    assert asked.body["chat_id"] == "-100"


@pytest.mark.parametrize("status", [429, 500, 302, 401])
def test_a_refused_heartbeat_is_sent_again(source, bot, status):
    gap = miss(source)
    bot.answer = lambda path: (status, {"ok": False})
    with pytest.raises(TelegramError, match=str(status)):
        send_notices()
    assert not Notice.objects.filter(gap=gap).exists()

    bot.answer = lambda path: (200, {"ok": True})

    assert send_notices() == 1
    assert Notice.objects.filter(gap=gap).exists()


def test_the_token_is_in_no_error_and_in_no_log_line(source, monkeypatch, bot, caplog):
    caplog.set_level(logging.DEBUG)
    logging.getLogger("urllib3").setLevel(settings.LOGGING["loggers"]["urllib3"]["level"])
    miss(source)
    send_notices()
    miss(make_source())
    monkeypatch.setattr(settings, "TELEGRAM_API_URL", "http://127.0.0.1:1")

    with pytest.raises(TelegramError) as caught:
        send_notices()

    assert TOKEN not in caplog.text
    assert TOKEN not in repr(caught.value)
    assert caught.value.__cause__ is None
    monkeypatch.setattr(settings, "TELEGRAM_API_URL", bot.url)
    send_notices()


def test_other_gaps_are_no_messages(bot):
    from alerts_audit.gaps import open_gap as open_any

    open_any(reason="outage", subject=secrets.token_hex(12), since=datetime.now(UTC))

    assert send_notices() == 0


def test_without_a_bot_there_is_no_job(monkeypatch):
    assert not is_configured()
    monkeypatch.setattr(settings, "AM_TELEGRAM_BOT_TOKEN", TOKEN)
    monkeypatch.setattr(settings, "AM_TELEGRAM_CHAT_ID", "-100")
    assert telegram.is_configured()


def test_a_message_survives_any_name(source, bot):
    Source.objects.filter(pk=source.pk).update(heartbeat_alert="<b>&_*[")
    source.refresh_from_db()
    miss(source)
    send_notices()

    assert "<b>&_*[" in json.loads(json.dumps(bot.asked[0].body))["text"]
