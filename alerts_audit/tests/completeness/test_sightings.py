"""When an alert was seen, and when it must have arrived: without any clock but the tests' own."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from alerts_audit.completeness.sightings import AlertmanagerSightings, PrometheusSightings, Sighting, parsed

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
LABELS = {"alertname": "A", "shop": "1"}


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def alert(labels: dict[str, str] = LABELS, state: str = "active", starts: float = 0) -> dict[str, Any]:
    return {"labels": labels, "state": state, "starts_at": at(starts).isoformat()}


class Polls(AlertmanagerSightings):
    """Each poll is a time in seconds and what Alertmanager held."""

    def __init__(self, *polls: tuple[float, list[dict[str, Any]]]) -> None:
        super().__init__()
        for number, (seconds, alerts) in enumerate(polls):
            self.saw(at(seconds), alerts, number)

    def stretches(self, by: float = 1000) -> list[tuple[float, float, bool]]:
        return [stretch(sighting) for sighting in self.overdue(at(by))]


def stretch(sighting: Sighting) -> tuple[float, float, bool]:
    """First and last seen in seconds, and whether it ended."""
    first, last = sighting.first - NOON, sighting.last - NOON
    return first.total_seconds(), last.total_seconds(), sighting.ended


def test_an_alert_that_goes_on_is_one_sighting():
    assert Polls((0, [alert()]), (15, [alert()]), (30, [alert()])).stretches() == [(0, 30, False)]


def test_one_that_ended_is_kept_until_it_is_judged():
    polls = Polls((0, [alert()]), (15, []), (30, []))

    [sighting] = polls.overdue(at(0))
    assert stretch(sighting) == (0, 0, True)
    sighting.settled = True
    polls.forget_settled()
    assert polls.stretches() == []


def test_no_alert_is_judged_during_the_grace():
    assert Polls((10, [alert()])).stretches(by=9) == []


def test_a_judged_alert_is_not_judged_again_while_it_fires():
    polls = Polls((0, [alert()]))
    for sighting in polls.overdue(at(0)):
        sighting.settled = True
    polls.saw(at(15), [alert()], 1)

    assert polls.stretches() == []


def test_one_that_comes_back_is_another_sighting():
    assert Polls((0, [alert()]), (15, []), (30, [alert(starts=20)])).stretches() == [(0, 0, True), (30, 30, False)]


def test_an_alert_that_restarted_between_two_polls_is_another_sighting():
    polls = Polls((0, [alert()]), (15, [alert(starts=10)]))

    assert polls.stretches() == [(0, 0, True), (15, 15, False)]
    assert [sighting.since for sighting in polls.overdue(at(1000))] == [at(0), at(10)]


def test_a_start_that_moves_backwards_is_the_same_sighting():
    assert Polls((0, [alert()]), (15, [alert(starts=-60)])).stretches() == [(0, 15, False)]


@pytest.mark.parametrize("second", [[alert(state="suppressed")], [alert(state="suppressed"), alert({"b": "c"})]])
def test_a_suppressed_alert_need_not_arrive(second):
    polls = Polls((0, [alert()]), (15, second))

    assert all(sighting.labels != LABELS for sighting in polls.overdue(at(1000)))


def test_the_grace_begins_again_after_a_suppression():
    assert Polls((0, [alert(state="suppressed")]), (15, [alert()])).stretches() == [(15, 15, False)]


def test_an_alert_that_is_not_processed_yet_can_be_sent():
    assert Polls((0, [alert(state="unprocessed")])).stretches() == [(0, 0, False)]


def test_alerts_of_other_labels_are_others():
    assert len(Polls((0, [alert(), alert({**LABELS, "shop": "2"})])).stretches()) == 2


def test_it_is_known_by_a_part_of_its_labels_while_it_was_held():
    polls = Polls((0, [alert(state="suppressed")]), (15, []))

    assert polls.knew({"alertname": "A"}, at(0), at(5))
    assert not polls.knew({"alertname": "A"}, at(0), at(5), exact=True)
    assert polls.knew(LABELS, at(-5), at(0), exact=True)
    assert not polls.knew(LABELS, at(1), at(5))
    assert not polls.knew(LABELS, at(-5), at(-1))
    assert not polls.knew({"alertname": "B"}, at(0), at(5))


def test_a_later_period_does_not_count_for_an_earlier_one():
    polls = Polls((0, [alert()]), (15, []), (600, [alert(starts=590)]), (615, [alert(starts=590)]))

    assert polls.knew(LABELS, at(0), at(5), exact=True)
    assert not polls.knew(LABELS, at(300), at(400), exact=True)
    assert polls.knew(LABELS, at(592), at(900), exact=True)


def test_periods_that_ended_long_ago_are_forgotten():
    polls = Polls((0, [alert()]), (15, []), (600, [alert(starts=590)]))
    polls.forget_held(at(10))

    assert not polls.knew(LABELS, at(0), at(5))
    assert polls.knew(LABELS, at(600), at(600))


# --- Prometheus --------------------------------------------------------------------------------------------


class Ranges(PrometheusSightings):
    """Each range is its end in seconds and the samples in it; they overlap by 20 seconds, and 10 are a pause."""

    def __init__(self, *ranges: tuple[float, list[float]]) -> None:
        super().__init__()
        for number, (end, samples) in enumerate(ranges):
            self.look(end, samples, number)

    def look(self, end: float, samples: list[float], number: int = 0) -> None:
        firing = [(LABELS, [at(sample) for sample in samples])] if samples else []
        self.saw(at(end - 35), at(end), firing, pause=timedelta(seconds=10), observation_id=number)

    def stretches(self) -> list[tuple[float, float, bool]]:
        return [stretch(sighting) for sighting in self.overdue(at(1000))]


def test_samples_in_a_row_are_one_sighting_over_all_ranges():
    assert Ranges((15, [5, 10, 15]), (30, [5, 10, 15, 20, 25, 30])).stretches() == [(5, 30, False)]


def test_an_alert_that_came_and_went_within_one_range_is_seen():
    assert Ranges((30, [10, 15])).stretches() == [(10, 15, True)]


def test_a_pause_ends_one_and_begins_another():
    assert Ranges((40, [10, 35, 40])).stretches() == [(10, 10, True), (35, 40, False)]


def test_a_judged_alert_does_not_return_in_the_overlap():
    ranges = Ranges((30, [10, 15]))
    for sighting in ranges.overdue(at(1000)):
        sighting.settled = True
    ranges.forget_settled()

    ranges.look(45, [10, 15])

    assert ranges.stretches() == []


def test_a_sample_that_comes_late_into_the_overlap_is_used():
    assert Ranges((30, []), (45, [28])).stretches() == [(28, 28, True)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-22T12:00:00Z", at(0)),
        ("2026-11-22T12:00:00.5Z", at(0.5)),
        ("2026-11-22T12:00:00.123456789Z", at(0.123456)),
        ("2026-11-22T13:00:00.123456789+01:00", at(0.123456)),
        ("2026-11-22T11:00:00-01:00", at(0)),
        ("2026-11-22T12:00:00", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_times_are_read_as_go_writes_them(text, expected):
    assert parsed(text) == expected
