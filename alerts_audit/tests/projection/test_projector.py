"""Numbers, quarantine, log lines and gaps of the projector."""

import hashlib
import logging
import uuid
from datetime import UTC, datetime

import psycopg
import pytest
from django.db import ProgrammingError

from alerts_audit.identity import identify
from alerts_audit.models import Delivery, Envelope, Episode, Gap, Identity, Input, Observation, OpenGap, Pending
from alerts_audit.projection import projector
from alerts_audit.projection.projector import LOCK
from alerts_audit.tests.projection.trail import url
from fintech.database.connections import open_connection

# --- Numbers -------------------------------------------------------------------------------------------------


def test_inputs_have_dense_numbers_and_say_what_they_are(lone_trail):
    lone_trail.fires(0)
    lone_trail.sees(1, known=True)
    lone_trail.ends(6)
    lone_trail.project()

    first, second, third = Input.objects.order_by("number")
    assert [first.kind, second.kind, third.kind] == ["delivery", "observation", "delivery"]
    assert [first.number, second.number, third.number] == [1, 2, 3]
    assert first.context == {"cluster": lone_trail.cluster}
    assert first.at == Delivery.objects.earliest("pk").received_at
    assert not Pending.objects.exists()


def test_a_late_commit_gets_the_next_number(lone_trail):
    with psycopg.connect(url("app", lone_trail.database)) as slow:
        slow.execute(
            "INSERT INTO alerts_audit_delivery (source, body, sha256, size) VALUES (%s, '', sha256(''), 0)",
            [lone_trail.source("a")],
        )
        later = lone_trail.fires(1)
        assert lone_trail.project() == 1
        slow.commit()

    earlier = Delivery.objects.earliest("pk").pk
    assert earlier < later
    assert lone_trail.project() == 1
    assert Envelope.objects.get(pk=later).input_number < Envelope.objects.get(pk=earlier).input_number
    assert lone_trail.differences() == []


def test_an_episode_has_the_key_of_its_identity_and_its_input(trail):
    key = trail.fires(0)
    trail.project()

    (episode,) = trail.episodes()
    number = Envelope.objects.get(pk=key).input_number
    digest = bytearray(hashlib.sha256(b"%b %d 0" % (episode.identity.sha256, number)).digest()[:16])
    digest[6], digest[8] = digest[6] & 0x0F | 0x80, digest[8] & 0x3F | 0x80
    assert episode.key == uuid.UUID(bytes=bytes(digest))
    assert episode.key.variant == uuid.RFC_4122


def test_an_identity_is_the_hash_of_cluster_and_labels_in_canonical_json(trail):
    trail.fires(0)
    trail.project()

    identity = Identity.objects.get(cluster=trail.cluster)
    text = f'["{trail.cluster}",{{"alertname":"{trail.alertname}","instance":"one","severity":"critical"}}]'
    assert bytes(identity.sha256) == hashlib.sha256(text.encode()).digest()
    assert bytes(identity.sha256) == identify(trail.cluster, dict(reversed(identity.labels.items())))


def test_a_source_that_is_not_known_is_of_the_main_cluster(lone_trail):
    Delivery.objects.create(source="old", body=b"{", sha256=hashlib.sha256(b"{").digest(), size=1)
    lone_trail.project()

    assert Input.objects.get().context == {"cluster": "main"}


def test_nothing_is_projected_while_another_process_projects(trail):
    trail.fires(0)
    with open_connection("other") as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        assert trail.project() == 0
        assert trail.projector.is_anything_pending()
        connection.execute("SELECT pg_advisory_unlock_all()")  # at once; a closed session may linger

    assert trail.project() == 1


def test_many_small_deliveries_share_a_transaction(trail):
    for minute in range(250):
        trail.fires(minute / 100)
    assert trail.project() == 250

    (episode,) = trail.episodes()
    assert episode.deliveries == 250
    assert trail.minute(episode.last_seen_at) == 2.49
    assert Episode.objects.filter(identity__cluster=trail.cluster).count() == 1


def test_a_lost_connection_is_replaced(trail):
    trail.fires(0)
    trail.project()
    trail.query(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"  # returns when the session has ended
        " WHERE application_name = 'projector' AND datname = %s",
        trail.database,
    )
    trail.fires(1)

    assert trail.project() == 1


# --- Set aside -----------------------------------------------------------------------------------------------


def poison(trail) -> int:
    """The next delivery will meet an episode that has its key already: nothing that the projector could foresee."""
    identity = identify(trail.cluster, trail.alert()["labels"])
    (number,) = trail.query("SELECT coalesce(max(number), 0) + 2 FROM alerts_audit_input")[0]
    digest = bytearray(hashlib.sha256(b"%b %d 0" % (identity, number)).digest()[:16])
    digest[6], digest[8] = digest[6] & 0x0F | 0x80, digest[8] & 0x3F | 0x80
    Episode.objects.create(
        id=1,
        key=uuid.UUID(bytes=bytes(digest)),
        identity_id=1,
        state="resolved",
        starts_at=datetime.now(UTC),
        opened_at=datetime.now(UTC),
        closed_at=datetime.now(UTC),
        last_seen_at=datetime.now(UTC),
        opened_input=1,
        last_input=1,
    )
    trail.deliver(trail.document())
    return trail.fires(0)


def test_a_delivery_that_raises_is_quarantined_and_delays_no_other(lone_trail):
    poisonous = poison(lone_trail)
    after = lone_trail.deliver(lone_trail.document(lone_trail.alert(labels={"alertname": "After"})))

    assert lone_trail.project() == 3

    assert "UniqueViolation" in (Envelope.objects.get(pk=poisonous).error or "")
    assert Envelope.objects.get(pk=after).error is None
    assert list(lone_trail.query("SELECT alertname FROM alerts_audit_identity")) == [("After",)]


def test_a_rebuild_projects_a_quarantined_delivery_that_became_readable(lone_trail):
    from alerts_audit.projection import rebuild

    poisonous = poison(lone_trail)
    lone_trail.project()

    assert rebuild()

    assert Envelope.objects.get(pk=poisonous).error is None
    assert lone_trail.story() == [("firing", 0.0, None, ["firing"])]
    assert lone_trail.differences() == []


def test_a_foreign_lock_is_no_fault_of_the_delivery(lone_trail, monkeypatch):
    """Such as a VACUUM FULL of the episodes."""
    monkeypatch.setattr(projector, "STATEMENT_TIMEOUT", "2s")
    monkeypatch.setattr(projector, "LOCK_TIMEOUT", "100ms")
    lone_trail.fires(0)
    with psycopg.connect(url("postgres", lone_trail.database)) as other:
        other.execute("LOCK TABLE alerts_audit_episode")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            lone_trail.project()

    assert not Envelope.objects.exists()
    assert lone_trail.project() == 1
    assert [state for state, *_ in lone_trail.story()] == ["firing"]


def test_a_pending_delivery_that_is_gone_delays_nothing(lone_trail):
    """A deleted row is reported by verify_audit, and later ones are projected."""
    lone_trail.tamper(
        "INSERT INTO alerts_audit_pending (kind, ref, at)"
        " SELECT 'delivery', 1000000 + gone, now() FROM generate_series(1, 2 * %s) AS gone",
        projector.MAX_DELIVERIES,
    )
    poisonous = poison(lone_trail)

    assert lone_trail.project() == 2
    assert "UniqueViolation" in (Envelope.objects.get(pk=poisonous).error or "")


@pytest.mark.parametrize("body", [b"{", b'{"alerts": [{"labels": 5}]}', b""])
def test_an_unreadable_observation_is_consumed(trail, body):
    Observation.objects.create(
        source=trail.source("a"), kind="alertmanager", body=body, sha256=hashlib.sha256(body).digest()
    )
    trail.fires(0)

    assert trail.project() == 2
    assert len(trail.story()) == 1
    assert trail.differences() == []


@pytest.mark.parametrize("table", ["transition", "identity", "envelope", "gap"])
def test_a_database_without_its_tables_quarantines_nothing(lone_trail, table):
    lone_trail.deliver(lone_trail.document(lone_trail.alert(), truncatedAlerts=1))
    lone_trail.tamper(f"ALTER TABLE alerts_audit_{table} RENAME TO elsewhere")

    with pytest.raises((psycopg.ProgrammingError, ProgrammingError)):
        lone_trail.project()

    assert not Input.objects.exists()
    assert Pending.objects.count() == 1


# --- Log -----------------------------------------------------------------------------------------------------


def test_each_transition_is_one_line_of_the_log(trail, caplog):
    trail.fires(0)
    trail.ends(6)
    with caplog.at_level("INFO"):
        trail.project()

    first, second = [record for record in caplog.records if record.message == "alert_received"]
    assert (first.kind, first.from_state, first.to_state) == ("transition", None, "firing")
    assert (second.from_state, second.to_state, second.status) == ("firing", "resolved", "resolved")
    assert (second.alertname, second.severity, second.receiver) == (trail.alertname, "critical", "audit")
    assert second.group_key == trail.document()["groupKey"]
    assert second.source == trail.source("a")
    assert second.sha256 == bytes(Delivery.objects.get(pk=second.delivery_id).sha256).hex()
    assert second.episode == str(trail.episodes()[0].key)


def test_a_repetition_is_no_line_of_the_log(trail, caplog):
    trail.fires(0)
    trail.project()
    caplog.clear()
    trail.fires(240)
    with caplog.at_level("INFO"):
        trail.project()

    assert not caplog.records


class Onlooker(logging.Handler):
    """Counts what others can see of an identity's episodes at the moment of each line."""

    def __init__(self, cluster: str) -> None:
        super().__init__()
        self.cluster = cluster
        self.seen: list[int] = []

    def emit(self, record: logging.LogRecord) -> None:
        with open_connection("onlooker") as connection:
            rows = connection.execute("SELECT 1 FROM alerts_audit_identity WHERE cluster = %s", [self.cluster])
            self.seen.append(len(rows.fetchall()))


def test_nothing_is_logged_before_the_commit(trail):
    onlooker = Onlooker(trail.cluster)
    logging.getLogger("alerts_audit").addHandler(onlooker)
    trail.fires(0)
    try:
        trail.project()
    finally:
        logging.getLogger("alerts_audit").removeHandler(onlooker)

    assert onlooker.seen == [1]


# --- Gaps ----------------------------------------------------------------------------------------------------


def truncated(trail) -> OpenGap | None:
    opened = Gap.objects.filter(source=trail.source("a"), reason="truncated", closes=None)
    return OpenGap.objects.filter(gap__in=opened).first()


def test_alerts_that_alertmanager_left_out_open_one_gap(trail):
    first = trail.deliver(trail.document(trail.alert(), truncatedAlerts=7))
    trail.deliver(trail.document(trail.alert(), truncatedAlerts=9), minute=1)
    trail.project()

    (gap,) = Gap.objects.filter(source=trail.source("a"))
    assert (gap.reason, gap.details["left_out"], gap.delivery_id) == ("truncated", 7, first)
    assert truncated(trail)


def test_a_whole_delivery_of_the_group_closes_it(trail):
    trail.deliver(trail.document(trail.alert(), truncatedAlerts=7))
    trail.project()
    whole = trail.deliver(trail.document(trail.alert()), minute=5)
    trail.project()

    opened, closed = Gap.objects.filter(source=trail.source("a")).order_by("pk")
    assert (closed.closes, closed.delivery_id, trail.minute(closed.until)) == (opened, whole, 5)
    assert not truncated(trail)


def test_both_in_one_transaction_are_an_opened_and_a_closed_gap(trail):
    trail.deliver(trail.document(trail.alert(), truncatedAlerts=7))
    trail.deliver(trail.document(trail.alert()), minute=5)
    trail.project()

    assert Gap.objects.filter(source=trail.source("a")).count() == 2
    assert not truncated(trail)


@pytest.mark.parametrize("other", [{"groupKey": "another"}, {"receiver": "another"}])
def test_another_group_does_not_close_it(trail, other):
    trail.deliver(trail.document(trail.alert(), truncatedAlerts=7))
    trail.deliver(trail.document(trail.alert(), **other), minute=5)
    trail.project()

    assert truncated(trail)


def test_a_delivery_that_was_cut_off_has_a_gap(trail):
    key = trail.deliver(b"{", size=20_000_000)
    trail.project()

    gap = Gap.objects.get(source=trail.source("a"))
    assert (gap.reason, gap.subject, gap.delivery_id) == ("truncated", f"delivery {key}", key)


def test_a_rebuild_opens_no_gap(trail):
    trail.deliver(trail.document(trail.alert(), truncatedAlerts=7))
    trail.deliver(b"{", size=20_000_000)
    trail.project()
    before = Gap.objects.count()

    assert trail.differences() == []
    assert Gap.objects.count() == before
