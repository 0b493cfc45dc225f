"""Gaps: opened once and closed once, for any caller and any concurrency."""

import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from alerts_audit.gaps import Opening, bounded, close_gap, close_gaps, differences, open_gap, open_gaps
from alerts_audit.models import Gap, OpenGap

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


@pytest.fixture
def subject() -> str:
    return f"test {secrets.token_hex(12)}"


def opened(subject: str, **more) -> Gap | None:
    return open_gap(reason="outage", subject=subject, since=NOW, **more)


def closed(subject: str, **more) -> Gap | None:
    return close_gap(reason="outage", subject=subject, until=NOW + timedelta(minutes=5), **more)


def test_a_gap_says_what_why_and_since_when(subject):
    opened(subject, source="peer-1", labels={"alertname": "A"}, details={"seen": 2}, delivery_id=5, observation_id=6)

    gap = Gap.objects.open().get(subject=subject)
    assert (gap.reason, gap.source, gap.labels, gap.since) == ("outage", "peer-1", {"alertname": "A"}, NOW)
    assert (gap.details, gap.delivery_id, gap.observation_id) == ({"seen": 2}, 5, 6)


def test_an_open_gap_is_not_opened_again(subject):
    assert opened(subject)

    assert opened(subject) is None
    assert Gap.objects.filter(subject=subject).count() == 1


def test_another_reason_is_another_gap(subject):
    opened(subject)

    assert open_gap(reason="heartbeat", subject=subject, since=NOW)


def test_closing_is_another_row_that_refers_to_the_first(subject):
    first = opened(subject, source="peer-1", labels={"alertname": "A"})

    row = closed(subject, details={"how": "delivered"})

    assert row
    assert (row.closes, row.source, row.labels, row.details) == (first, "peer-1", first.labels, {"how": "delivered"})
    assert (row.since, row.until) == (NOW, NOW + timedelta(minutes=5))
    assert not Gap.objects.open().filter(subject=subject).exists()


def test_a_gap_that_is_not_open_cannot_be_closed(subject):
    assert closed(subject) is None

    opened(subject)
    closed(subject)
    assert closed(subject) is None
    assert Gap.objects.filter(subject=subject).count() == 2


def test_a_closed_gap_can_open_again(subject):
    first = opened(subject)
    closed(subject)

    second = opened(subject)

    assert second
    assert second != first


def test_a_gap_never_ends_before_it_began(subject):
    opened(subject)

    row = close_gap(reason="outage", subject=subject, until=NOW - timedelta(hours=1))

    assert row
    assert row.until == NOW


def test_an_unknown_reason_is_refused(subject):
    with pytest.raises(ValueError, match="weather"):
        open_gap(reason="weather", subject=subject, since=NOW)


def test_many_are_opened_in_one_statement_each_once(subject, django_assert_num_queries):
    openings = [Opening(f"{subject} {number % 50}", NOW) for number in range(100)]
    with django_assert_num_queries(2):  # and one that reads them
        assert len(open_gaps("silenced", openings)) == 50

    assert open_gaps("silenced", openings) == []


def test_nothing_to_do_asks_nothing(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert open_gaps("silenced", []) == close_gaps("silenced", []) == []


def test_a_subject_of_any_length_and_any_character_is_kept_apart(subject):
    long = subject + "x\0" * 100_000

    assert opened(long)
    assert opened(long) is None
    assert opened(long + "y")
    assert len(bounded(long)) <= 500
    assert closed(long)


def test_a_label_may_hold_nul(subject):
    gap = opened(subject, labels={"pod": "a\0b"}, details={"by": [{"x\0": "\0"}]})

    assert gap
    assert gap.labels == {"pod": "a\N{REPLACEMENT CHARACTER}b"}


def at_once(work) -> list[Gap]:
    def turn(_: int) -> Gap | None:
        try:
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as threads:
        return [gap for gap in threads.map(turn, range(8)) if gap]


def test_one_of_many_concurrent_openings_and_closings_succeeds(subject):
    assert len(at_once(lambda: opened(subject))) == 1
    assert len(at_once(lambda: closed(subject))) == 1

    assert Gap.objects.filter(subject=subject).count() == 2


def test_a_person_closes_a_gap_with_a_name_and_a_reason(subject, capsys):
    gap = opened(subject)
    assert gap

    call_command("close_gap", str(gap.pk), "--by", "ann", "--note", "the disk was full; no alert was lost")

    details = Gap.objects.get(closes=gap).details
    assert details == {
        "how": "closed by a person",
        "by": "ann",
        "note": "the disk was full; no alert was lost",
    }
    assert f"Gap {gap.pk} (outage) is closed." in capsys.readouterr().out


@pytest.mark.parametrize(("by", "note"), [("", "why"), ("ann", " ")])
def test_closing_a_gap_needs_a_name_and_a_reason(subject, by, note):
    gap = opened(subject)
    assert gap
    with pytest.raises(CommandError, match="Name the person"):
        call_command("close_gap", str(gap.pk), "--by", by, "--note", note)

    assert Gap.objects.open().filter(pk=gap.pk).exists()


@pytest.mark.parametrize(("note", "says"), [("4242 4242 4242 4242", "card number"), ("x" * 4001, "at most 4000")])
def test_a_note_that_the_admin_refuses_is_refused_by_the_command(subject, note, says):
    gap = opened(subject)
    assert gap
    with pytest.raises(CommandError, match=says):
        call_command("close_gap", str(gap.pk), "--by", "ann", "--note", note)

    assert Gap.objects.open().filter(pk=gap.pk).exists()


def test_a_gap_that_is_closed_cannot_be_closed_by_hand(subject):
    gap = opened(subject)
    closed(subject)
    assert gap
    with pytest.raises(CommandError, match=f"No open gap has the number {gap.pk}"):
        call_command("close_gap", str(gap.pk), "--by", "ann", "--note", "why")


def test_a_list_of_open_gaps_that_was_tampered_with_is_noticed(subject):
    hidden, shown = opened(subject), opened(f"{subject} 2")
    assert hidden
    assert shown
    closed(f"{subject} 2")
    assert not any(f"gap {gap.pk} " in line for gap in (hidden, shown) for line in differences())

    OpenGap.objects.filter(pk=hidden.pk).delete()
    OpenGap.objects.create(gap=shown, reason="outage", subject=f"{subject} 2")

    assert f"gap {hidden.pk} is open, and not listed as open" in differences()
    assert f"gap {shown.pk} is listed as open, and is not" in differences()
