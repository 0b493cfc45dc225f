"""Concurrent reviews of projected episodes: one is first, and all others learn which one."""

import secrets
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from alerts_audit.models import Episode, Review
from alerts_audit.projection import project_pending
from alerts_audit.reviews.services import AlreadyAcknowledged, acknowledge, acknowledge_many
from alerts_audit.tests.factories import responder
from alerts_audit.tests.payloads import alertmanager_body
from alerts_audit.webhook.services import record_delivery
from fintech.testing.processes import wait_until


@pytest.fixture
def episodes() -> list[Episode]:
    names = [f"Race{secrets.token_hex(6)}" for _ in range(4)]
    record_delivery(
        source="alertmanager",
        body=alertmanager_body(*names),
        content_type=None,
        content_encoding=None,
        request_id=None,
    )

    def found() -> bool:
        project_pending()
        return Episode.objects.filter(alertname__in=names).count() == len(names)

    wait_until(found, what="the episodes are projected")
    return list(Episode.objects.filter(alertname__in=names))


def at_once(work, number: int = 8) -> list:
    def run(_: int):
        try:
            return work()
        except AlreadyAcknowledged as refusal:
            return refusal
        finally:
            connection.close()

    with ThreadPoolExecutor(number) as threads:
        return list(threads.map(run, range(number)))


def test_one_of_many_concurrent_reviews_wins_and_the_others_are_refused(episodes):
    people = [responder() for _ in range(8)]
    outcomes = at_once(lambda: acknowledge(episode_key=episodes[0].key, author=people.pop()))

    (first,) = [outcome for outcome in outcomes if isinstance(outcome, Review)]
    refusals = [outcome for outcome in outcomes if isinstance(outcome, AlreadyAcknowledged)]
    assert len(refusals) == 7
    assert {refusal.first.pk for refusal in refusals} == {first.pk}


def test_bulk_acknowledgements_in_any_order_do_not_wait_in_a_circle(episodes):
    keys, person = [episode.key for episode in episodes], responder()
    orders = [keys, keys[::-1]] * 4
    outcomes = at_once(lambda: acknowledge_many(episode_keys=orders.pop(), author=person))

    assert sum(len(new) for new in outcomes) == len(keys)
    assert Review.objects.filter(episode_key__in=keys).count() == len(keys)
