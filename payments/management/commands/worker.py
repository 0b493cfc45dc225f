"""`manage.py worker`: the background process, with metrics on a port of its own."""

import signal
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from prometheus_client import start_http_server

from fintech import metrics
from fintech.env import SettingError
from fintech.metrics_server import address
from payments.worker import Worker


class Command(BaseCommand):
    help = "Resolve unknown outcomes, export the ledger's metrics and watch for drift, until SIGTERM."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            host, port = address("WORKER_METRICS_BIND", "127.0.0.1:9465")
            metrics.claim("worker", shared=False)
            server, thread = start_http_server(port, host)
        except (SettingError, OSError) as error:
            raise CommandError(f"the worker cannot start: {error}") from None
        worker = Worker()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: worker.stop.set())
        worker.run()
        server.shutdown()
        thread.join()
