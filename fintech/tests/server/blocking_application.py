"""The web application with a fault: POST /transaction blocks the event loop for as many seconds as its body says.

GET /health?SECONDS blocks it after the request has been handled, before anything that is due after that. GET /broken
fails in the middle of its answer, and GET /broken?early before any of it is sent. GET /stream?BYTES answers with so
many bytes, and does not say how many.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator
from wsgiref.types import StartResponse, WSGIEnvironment

from fintech.wsgi import application as healthy_application


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/transaction":
        time.sleep(float(environ["wsgi.input"].read()))
    if environ["PATH_INFO"] == "/health" and environ["QUERY_STRING"]:
        asyncio.get_running_loop().call_soon(time.sleep, float(environ["QUERY_STRING"]))
    if environ["PATH_INFO"] == "/broken":
        start_response("200 OK", [("X-Request-ID", "of-the-answer")])
        return broken_answer(1 if environ["QUERY_STRING"] else 300 * 1024)
    if environ["PATH_INFO"] == "/stream":
        start_response("200 OK", [])
        return iter([b"x" * int(environ["QUERY_STRING"])])
    return healthy_application(environ, start_response)


def broken_answer(size: int) -> Iterator[bytes]:
    yield b"x" * size
    raise RuntimeError("the rest is missing")
