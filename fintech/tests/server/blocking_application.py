"""The web application with a fault: POST /transaction blocks the event loop for as many seconds as its body says."""

import time
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

from fintech.wsgi import application as healthy_application


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/transaction":
        time.sleep(float(environ["wsgi.input"].read()))
    return healthy_application(environ, start_response)
