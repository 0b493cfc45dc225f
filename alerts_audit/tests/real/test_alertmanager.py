"""The trail's view of a real Alertmanager."""

import secrets
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from alerts_audit.models import Gap
from alerts_audit.tests.completeness.servers import FakeServer, fake_server
from alerts_audit.tests.real.rig import ALERTMANAGER, QUICK, Scene, scene
from fintech.testing.processes import Platform, wait_until

pytestmark = [pytest.mark.skipif(not ALERTMANAGER, reason="Alertmanager is not installed"), pytest.mark.processes]


@pytest.fixture(scope="module")
def bot() -> Iterator[FakeServer]:
    """Telegram's Bot API."""
    with fake_server(lambda path: (200, {"ok": True})) as server:
        yield server


@pytest.fixture(scope="module")
def platform(tmp_path_factory, bot: FakeServer) -> Iterator[Platform]:
    telegram = {"AM_TELEGRAM_BOT_TOKEN": "1:x", "AM_TELEGRAM_CHAT_ID": "7", "TELEGRAM_API_URL": bot.url}
    with Platform(tmp_path_factory.mktemp("platform"), workers=2, env=QUICK | telegram) as platform:
        yield platform


@pytest.fixture
def trail(platform: Platform, tmp_path: Path) -> Iterator[Scene]:
    with scene(platform, tmp_path) as trail:
        yield trail


def alert(name: str | None = None, **labels: str) -> dict[str, str]:
    return {"alertname": name or f"Real{secrets.token_hex(4)}", "severity": "critical", **labels}


def test_an_alert_that_fires_repeats_and_resolves_is_one_episode(trail):
    peer, one = trail.add_peer(repeat_interval="1s"), alert()
    peer.fire(one)
    trail.wait_for_states(["firing"])
    wait_until(lambda: len(trail.deliveries()) >= 2, 30, "it is repeated")

    peer.resolve(one)

    trail.wait_for_states(["resolved"])
    [episode] = trail.episodes()
    assert episode.deliveries >= 3
    assert [step.to_state for step in episode.transitions.all()] == ["firing", "resolved"]
    trail.assert_complete()


def test_a_receiver_that_is_down_while_it_fires_still_gets_one_episode(trail, platform):
    peer, one = trail.add_peer(), alert()
    platform.web.kill()
    peer.fire(one)
    gap = trail.wait_for_gap("outage")
    assert gap.labels == one

    platform.start()

    trail.wait_for_states(["firing"])
    trail.wait_for_no_gap("outage")
    assert trail.get_closing(gap).details == {"how": "arrived late"}
    peer.resolve(one)
    trail.wait_for_states(["resolved"])


def test_a_receiver_that_is_down_for_the_alerts_whole_life_leaves_a_gap(trail, platform):
    peer, one = trail.add_peer(), alert()
    platform.web.kill()
    peer.fire(one)
    wait_until(lambda: trail.seen(one), 30, "the worker has seen it")
    peer.resolve(one)

    gap = trail.wait_for_gap("outage")
    platform.start()

    assert gap.labels == one
    assert trail.episodes() == []


def test_two_peers_that_each_send_it_make_one_episode(trail):
    first, second, one = trail.add_peer(), trail.add_peer(), alert()  # they do not know of each other: both send
    first.fire(one)
    second.fire(one)
    wait_until(lambda: trail.senders() == set(trail.names()), 30, "both have sent")
    trail.wait_for_states(["firing"])

    first.resolve(one)
    second.resolve(one)

    trail.wait_for_states(["resolved"])
    wait_until(lambda: trail.statuses().count("resolved") == 2, 30, "both have said that it is over")
    trail.assert_complete()


def test_a_cluster_that_loses_a_peer_loses_no_alert(trail):
    first, second = trail.add_peer(together=True), trail.add_peer(together=True)
    one, two = alert(), alert()
    first.fire(one)
    second.fire(one)
    trail.wait_for_states(["firing"], name=one["alertname"])

    first.program.kill()
    second.fire(two)
    second.resolve(one)

    trail.wait_for_states(["resolved"], name=one["alertname"])
    trail.wait_for_states(["firing"], name=two["alertname"])
    trail.assert_complete()


def test_a_silenced_alert_is_recorded_with_the_silences_author(trail):
    peer, one = trail.add_peer(), alert()
    key = peer.silence(one["alertname"])
    peer.fire(one)

    gap = trail.wait_for_gap("silenced")
    assert gap.labels == one
    [silence] = gap.details["silenced_by"]
    assert (silence["id"], silence["createdBy"], silence["comment"]) == (key, "ann", "a planned test")

    peer.resolve(one)
    trail.wait_for_no_gap("silenced")
    assert trail.get_closing(gap).details == {"how": "the alert ended"}
    trail.assert_complete()
    assert trail.deliveries() == []


def test_an_alert_that_outlives_its_silence_arrives(trail):
    peer, one = trail.add_peer(), alert()
    key = peer.silence(one["alertname"])
    peer.fire(one)
    gap = trail.wait_for_gap("silenced")

    peer.end_silence(key)

    trail.wait_for_states(["firing"])
    trail.wait_for_no_gap("silenced")
    assert trail.get_closing(gap).details == {"how": "no longer suppressed"}
    trail.assert_complete()


def test_an_inhibited_alert_is_recorded_with_what_inhibits_it(trail):
    peer, shop = trail.add_peer(), secrets.token_hex(4)
    cause, effect = alert(shop=shop), alert(shop=shop, severity="warning")
    peer.fire(cause)
    trail.wait_for_states(["firing"])
    peer.fire(effect)

    gap = trail.wait_for_gap("inhibited")
    assert gap.labels == effect
    assert gap.details["inhibited_by"] == [cause]

    peer.resolve(cause, effect)
    trail.wait_for_no_gap("inhibited")
    trail.wait_for_states(["resolved"])
    trail.assert_complete()


def test_each_alert_that_max_alerts_leaves_out_is_a_gap(trail):
    peer, name = trail.add_peer(max_alerts=2), alert()["alertname"]
    alerts = [alert(name, shop=str(number)) for number in range(5)]
    peer.fire(*alerts)

    wait_until(lambda: len(trail.open_gaps("truncated")) == 4, 30, "the group and three alerts are gaps")

    arrived = [episode.identity.labels for episode in trail.episodes()]
    missed = [gap.labels for gap in trail.open_gaps("truncated") if gap.labels]
    assert len(arrived) == 2
    assert sorted(arrived + missed, key=lambda labels: labels["shop"]) == alerts
    assert trail.open_gaps("outage") == []


@pytest.mark.parametrize("count", [1_000, pytest.param(5_000, marks=pytest.mark.slow)])
def test_thousands_of_alerts_of_one_group_arrive(trail, count):
    peer, name = trail.add_peer(), alert()["alertname"]
    alerts = [alert(name, shop=str(number)) for number in range(count)]
    peer.fire(*alerts)
    wait_until(lambda: trail.count_of_state(name, "firing") == count, 20, "all of them fire", interval=0.2)

    peer.resolve(*alerts)

    wait_until(lambda: trail.count_of_state(name, "resolved") == count, 20, "all are resolved", interval=0.2)
    assert trail.count_of_state(name, "firing") == 0
    trail.assert_complete()


def test_people_are_notified_when_the_heartbeat_stops_and_returns(trail, platform, bot):
    peer = trail.add_peer(repeat_interval="500ms")
    trail.expect_heartbeat(seconds=2)
    peer.fire(alert("Watchdog"))
    name = f'alert_heartbeat_age_seconds{{source="{trail.names()[0]}"}}'
    wait_until(lambda: name in platform.scrape(platform.worker_port), 30, "the heartbeat is seen")

    peer.program.kill()
    gap = trail.wait_for_gap("heartbeat")
    messages = wait_until(lambda: trail.messages(bot), 30, "people are notified")
    assert [f"{gap.since:%H:%M:%S} UTC" in messages[0], "MAY BE LOST" in messages[0]] == [True, True]
    assert platform.scrape(platform.worker_port)[name] > 2

    peer.start()
    peer.fire(alert("Watchdog"))
    trail.wait_for_no_gap("heartbeat")
    wait_until(lambda: len(trail.messages(bot)) == 2, 30, "people are notified")
    assert "is back" in trail.messages(bot)[1]


def test_a_wrong_token_is_a_gap_on_both_sides_until_it_is_right(trail):
    peer, one = trail.add_peer(token="src_00000000_wrong"), alert()
    peer.fire(one)

    failed = trail.wait_for_gap("notifications")
    assert sum(failed.details["failed"].values()) >= 1
    assert trail.wait_for_gap("outage").labels == one
    refused = wait_until(refused_gap, 30, "our door counted it")
    assert trail.deliveries() == []

    trail.give_token(peer)

    trail.wait_for_states(["firing"])
    for gap in (failed, refused):
        wait_until(partial(is_closed, gap), 10, f"{gap.reason} is closed")
    trail.assert_complete()


def is_closed(gap: Gap) -> bool:
    return Gap.objects.filter(closes=gap).exists()


def refused_gap() -> Gap | None:
    return Gap.objects.open().filter(reason="unauthorized").first()
