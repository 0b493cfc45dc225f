"""The comparison of what fired with the trail finds an alert that the trail lacks."""

from datetime import UTC, datetime, timedelta

import pytest

from loadtests.prove.trail import Period, periods

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


def period(alertname: str, first: float, last: float) -> Period:
    return Period(alertname, NOON + timedelta(seconds=first), NOON + timedelta(seconds=last))


def test_a_pause_between_samples_ends_a_firing():
    samples = [(NOON.timestamp() + second, "1") for second in (0, 1, 2, 10, 11)]

    assert list(periods("TargetDown", samples)) == [period("TargetDown", 0, 2), period("TargetDown", 10, 11)]


@pytest.mark.parametrize(
    ("first", "last", "covered"),
    [(100, 200, True), (120, 130, True), (50, 96, True), (204, 300, True), (50, 90, False), (210, 300, False)],
)
def test_a_record_covers_the_firings_of_its_alert_in_its_time(first, last, covered):
    assert period("TargetDown", 100, 200).covers(period("TargetDown", first, last)) is covered


def test_a_record_of_another_alert_covers_nothing():
    assert not period("ServiceDown", 100, 200).covers(period("TargetDown", 100, 200))
