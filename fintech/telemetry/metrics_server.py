"""`python -m fintech.telemetry.metrics_server`: the web's metrics from a separate process.

It needs neither Django nor a database, so it answers while every web process is busy or the database is unavailable. It
has no token: bind it to loopback or to a private network (METRICS_BIND, by default 127.0.0.1:9464).
"""

import signal
import sys
import threading
from collections.abc import Callable
from wsgiref.simple_server import WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.exposition import ThreadingWSGIServer, _SilentHandler

from fintech import env
from fintech.telemetry import metric_slots


def application(render: Callable[[], bytes]) -> WSGIApplication:
    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        if environ["PATH_INFO"] == "/health":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"ok\n"]
        if environ["PATH_INFO"] != "/metrics":
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"metrics are at /metrics\n"]
        content = render()
        start_response("200 OK", [("Content-Type", CONTENT_TYPE_LATEST)])
        return [content]

    return answer


# `_SilentHandler` keeps a scrape out of standard error; `start_wsgi_server`, the public way to it, serves no /health.
def listen(address: tuple[str, int], render: Callable[[], bytes]) -> WSGIServer:
    return make_server(*address, application(render), ThreadingWSGIServer, handler_class=_SilentHandler)


def main() -> None:
    try:
        metric_slots.directory("web")
        server = listen(env.address("METRICS_BIND", "127.0.0.1:9464"), lambda: metric_slots.render("web"))
    except (env.SettingError, OSError) as error:
        sys.exit(f"error: the metrics exporter cannot start: {error}")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.2)


if __name__ == "__main__":
    main()
