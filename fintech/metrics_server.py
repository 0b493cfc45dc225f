"""`python -m fintech.metrics_server`: the web processes' metrics from a process of its own.

It needs neither Django nor a database, so it answers while every web worker is busy or the database is away. No
token: bind it to loopback or to an inner network (METRICS_BIND, by default 127.0.0.1:9464).
"""

import signal
import sys
import threading
from wsgiref.simple_server import make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.exposition import ThreadingWSGIServer, _SilentHandler

from fintech import env, metrics


def application(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    if environ["PATH_INFO"] == "/health":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ok\n"]
    if environ["PATH_INFO"] != "/metrics":
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"metrics are at /metrics\n"]
    start_response("200 OK", [("Content-Type", CONTENT_TYPE_LATEST)])
    return [metrics.render("web")]


def address(name: str, default: str) -> tuple[str, int]:
    host, _, port = env.text(name, default).rpartition(":")
    if not host or not port.isdigit():
        raise env.SettingError(f"{name} is wrong: use host:port, such as {default}.")
    return host, int(port)


def main() -> None:
    try:
        host, port = address("METRICS_BIND", "127.0.0.1:9464")
        server = make_server(host, port, application, ThreadingWSGIServer, handler_class=_SilentHandler)
    except (env.SettingError, OSError) as error:
        sys.exit(f"error: the metrics exporter cannot start: {error}")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.2)


if __name__ == "__main__":
    main()
