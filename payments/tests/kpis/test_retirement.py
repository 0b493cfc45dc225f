"""A host is retired when its exporter has really gone, not when it misses a scrape."""

from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from fintech.models import MetricsEpoch
from payments.kpis.retirement import Retirement

pytestmark = pytest.mark.django_db


class Exporter(HTTPServer):
    """An exporter that shows the counters of one epoch, or none while it is too busy."""

    def __init__(self, epoch: UUID) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.epoch, self.is_busy = epoch, False
        self.url = f"http://127.0.0.1:{self.server_port}/metrics"


class Answer(BaseHTTPRequestHandler):
    server: Exporter

    def do_GET(self) -> None:
        self.send_response(503 if self.server.is_busy else 200)
        self.end_headers()
        self.wfile.write(b'metrics_epoch_info{epoch="%s"} 1\n' % str(self.server.epoch).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Keep the output of the tests clean."""


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    """The exporter of a host that has been silent for a day."""
    with Exporter(uuid4()) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        silent = timezone.now() - timedelta(days=1)
        MetricsEpoch.objects.create(epoch=server.epoch, role="web", holder="gone", url=server.url, seen_at=silent)
        yield server
        server.shutdown()
        thread.join()


def is_retired(exporter: Exporter) -> bool:
    return MetricsEpoch.objects.get(url=exporter.url).retired_at is not None


def test_a_host_whose_exporter_answers_is_not_retired(exporter):
    retirement = Retirement()
    for _ in range(5):
        retirement.advance()

    assert not is_retired(exporter)


def test_an_exporter_that_misses_some_scrapes_is_not_retired(exporter):
    """One failed scrape retired it, and its counters were in all sums twice."""
    retirement = Retirement()
    for is_busy in (True, True, False, True, True):
        exporter.is_busy = is_busy
        retirement.advance()

    assert not is_retired(exporter)


def test_a_host_is_retired_after_as_many_failed_scrapes_in_a_row_as_the_setting_names(exporter, settings):
    settings.RETIRE_SCRAPES = 4
    exporter.is_busy = True
    retirement = Retirement()
    for _ in range(3):
        retirement.advance()
    assert not is_retired(exporter)

    retirement.advance()
    assert is_retired(exporter)


def test_another_leader_counts_the_failed_scrapes_again(exporter):
    exporter.is_busy = True
    for _ in range(5):
        Retirement().advance()

    assert not is_retired(exporter)


def test_an_exporter_with_counters_of_another_epoch_proves_that_the_first_has_gone(exporter):
    exporter.epoch = uuid4()
    Retirement().advance()

    assert is_retired(exporter)
