"""`manage.py worker`: the background process, with metrics on its own port."""

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from prometheus_client import REGISTRY, disable_created_metrics, generate_latest

from fintech import env
from fintech.jobs import Worker
from fintech.telemetry import metric_slots, tracing
from fintech.telemetry.metrics_server import MetricsServer


class Command(BaseCommand):
    help = "Do the background work of all apps (fintech/jobs.py), until SIGTERM."
    # As in the web: `migrate` has checked what would be loaded here for nothing else, such as the routes.
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            metric_slots.claim("worker", shared=False)
            address = env.address("WORKER_METRICS_BIND", "127.0.0.1:9465")
            server = MetricsServer(address, lambda: generate_latest(REGISTRY))
            tracing.start("worker")
        except (env.SettingError, OSError) as error:
            raise CommandError(f"the worker cannot start: {error}") from None
        disable_created_metrics()  # the web's merged metrics have no such series either
        worker = Worker()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: worker.stop.set())
        threading.Thread(target=serve_metrics, args=[server, worker], daemon=True).start()
        worker.run()
        tracing.stop()


def serve_metrics(server: MetricsServer, worker: Worker) -> None:
    """Serve the metrics as soon as they are correct."""
    while not worker.stop.is_set():
        try:
            for prepare in worker.before_metrics:
                prepare()
        except Exception:  # the job of the same name reports the error
            worker.stop.wait(1)
        else:
            server.serve_forever()
