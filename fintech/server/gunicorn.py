"""gunicorn's configuration: several processes, each with one event loop for payments and threads for the rest."""

import gc
import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from prometheus_client import Gauge

from fintech import env
from fintech.server import draining, spread
from fintech.telemetry import metric_slots, tracing

try:
    from fintech import settings  # a wrong setting stops the start here, with one sentence

    host, port = env.address("BIND", "127.0.0.1:5000")
    workers = env.integer("WEB_CONCURRENCY", 2, least=1, most=256)
    threads = env.integer("WEB_THREADS", 16, least=1, most=1024)
    capacity = env.integer("WEB_CAPACITY", 512, least=1, most=16_384)
    tracing.Options.read()
except ImproperlyConfigured as error:
    sys.exit(f"error: {error}")

bind = f"{host}:{port}"
worker_class = "fintech.server.worker_class.Worker"
# A payment that waits for the gateway does not stop the heartbeat: it comes from the event loop.
timeout = 30
# A running payment may take as long as the gateway's deadline, a batch as its own; then it is answered and the process
# ends.
# A payment that goes on at the second gateway may take the whole deadline of each.
_gateways = 2 if settings.STRIPE_API_KEY else 1
graceful_timeout = int(max(settings.GATEWAY_DEADLINE_SECONDS * _gateways, settings.BATCH_DEADLINE_SECONDS)) + 5
keepalive = 75  # longer than a proxy's, so that the proxy closes idle connections
backlog = 2048
worker_connections = 16_384  # idle ones cost a few kilobytes each
# The heartbeat file must not wait for a disk. macOS has no /dev/shm: gunicorn chooses a folder itself.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - gunicorn names the file at random
limit_request_line = 8190
# No proxy sets our path: a header SCRIPT_NAME from loopback would be accepted, and a wrong one is a 500.
forwarder_headers = ""
# All instances of a user would share one socket in the home directory, which may be read-only in a container.
control_socket_disable = True
# fintech.telemetry.logging logs each request once, as JSON; gunicorn's own log reports the workers.
accesslog = None
logger_class = "fintech.server.worker_class.Logger"
logconfig_dict = {
    **settings.LOGGING,
    "loggers": {"gunicorn.error": {"level": "INFO", "propagate": True}, "gunicorn.access": {"level": "CRITICAL"}},
}
# Loaded once, before the first fork. Not the project's code, which HUP loads again; not Django's models, which need it;
# not django_prometheus, whose metrics belong to the slot of a process.
LIBRARIES = (
    "aiohttp",
    "cryptography.hazmat.primitives.asymmetric.ed25519",
    "cryptography.hazmat.primitives.serialization",
    "csp.middleware",
    "django.contrib.admin",
    "django.contrib.messages.middleware",
    "django.core.handlers.wsgi",
    "django.db.backends.postgresql.base",
    "django.db.migrations.executor",
    "drf_spectacular.generators",
    "drf_spectacular.views",
    "iso4217",
    "msgspec",
    "orjson",
    "psycopg_pool",
    "rest_framework.views",
    "unfold.sites",
    "whitenoise.middleware",
)


def on_starting(server: Any) -> None:
    try:
        metric_slots.prepare("web")
        metric_slots.note_start("web")
        draining.forget()
    except OSError as error:
        sys.exit(f"error: RUNTIME_DIR cannot be used: {error}.")


def when_ready(server: Any) -> None:
    """Load the libraries before the first fork: then each process starts in little more than half of the time."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fintech.settings")
    gc.disable()
    for library in LIBRARIES:
        import_module(library)
    gc.freeze()  # the processes share this memory until it is written to
    gc.enable()


def post_fork(server: Any, worker: Any) -> None:
    # The master's handler only queues a signal, and here nothing would read it.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while not server.SIG_QUEUE.empty():
        if server.SIG_QUEUE.get() == signal.SIGTERM:
            sys.exit()
    gc.disable()  # while Django is loaded: see fintech/apps.py
    metric_slots.claim("web", shared=True)


def post_worker_init(worker: Any) -> None:
    from fintech.wsgi import warm_up

    tracing.start("app")
    warm_up()
    worker.limit_payments(capacity)
    # Together with transactions_in_progress it shows how near the limit is.
    Gauge("web_capacity", "Payments that can be worked on at once.", multiprocess_mode="livesum").set(capacity)


def child_exit(server: Any, worker: Any) -> None:
    metric_slots.forget_gauges(worker.pid)
    spread.board.forget(worker.pid)


def worker_exit(server: Any, worker: Any) -> None:
    tracing.stop()
