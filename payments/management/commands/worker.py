"""`manage.py worker`: the background process, with metrics on a port of its own."""

import signal
import threading
from typing import Any
from wsgiref.simple_server import WSGIServer

from django.core.management.base import BaseCommand, CommandError
from prometheus_client import REGISTRY, disable_created_metrics, generate_latest

from fintech import env, metrics, metrics_server
from payments.worker import Worker
from payments.writer import writer


class Command(BaseCommand):
    help = "Resolve unknown outcomes, export the ledger's metrics and watch for drift, until SIGTERM."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            metrics.claim("worker", shared=False)
            address = env.address("WORKER_METRICS_BIND", "127.0.0.1:9465")
            server = metrics_server.listen(address, lambda: generate_latest(REGISTRY))
        except (env.SettingError, OSError) as error:
            raise CommandError(f"the worker cannot start: {error}") from None
        disable_created_metrics()  # the web's merged metrics have no such series either
        worker = Worker()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: worker.stop.set())
        threading.Thread(target=serve_when_counted, args=[server, worker.stop], daemon=True).start()
        worker.run()


def serve_when_counted(server: WSGIServer, stop: threading.Event) -> None:
    """Its counters begin with what the rows say: after a scrape of 0, Prometheus would count all of it anew."""
    while not stop.is_set():
        try:
            writer.warm_up()
        except Exception:  # the worker's own job says what is wrong
            stop.wait(1)
        else:
            server.serve_forever()
