"""Requests to Alertmanager and Prometheus, bounded in time and size; `PollError` describes the failure."""

import time
from typing import Any

import orjson
import urllib3

from fintech.errors import Unavailable

# 10,000 alerts with long annotations are about 20 MB.
MAX_ANSWER = 64 * 1024 * 1024
MAX_ANSWER_SECONDS = 30

http = urllib3.PoolManager(timeout=urllib3.Timeout(connect=2, read=10), retries=False, maxsize=2)


class PollError(Unavailable):
    """A source did not answer, or its answer does not match its interface."""


def fetch(base_url: str, path: str) -> bytes:
    """Return the content of `base_url` and `path`. Raise PollError."""
    url = base_url.rstrip("/") + path
    place = url.partition("?")[0]
    if not url.startswith(("http://", "https://")):
        raise PollError(f"{place} is not an address such as http://alertmanager:9093")
    try:
        response = http.request("GET", url, preload_content=False)
        try:
            content = read_within_limits(response)
        finally:
            response.close()
    except (urllib3.exceptions.HTTPError, TimeoutError) as error:
        raise PollError(f"{place} does not answer: {type(error).__name__}") from error
    if response.status != 200:
        raise PollError(f"{place} answered {response.status}")
    if len(content) > MAX_ANSWER:
        raise PollError(f"{place} answered with more than {MAX_ANSWER} bytes")
    return content


def read_within_limits(response: urllib3.BaseHTTPResponse) -> bytes:
    """Read everything, up to slightly more than the limit. Raise TimeoutError if it takes too long."""
    deadline = time.monotonic() + MAX_ANSWER_SECONDS
    content = bytearray()
    for part in response.stream(1024 * 1024):
        content += part
        if len(content) > MAX_ANSWER:
            break
        if time.monotonic() > deadline:
            raise TimeoutError
    return bytes(content)


def fetch_json(base_url: str, path: str) -> Any:
    try:
        return orjson.loads(fetch(base_url, path))
    except orjson.JSONDecodeError as error:
        raise PollError(f"{base_url}{path.partition('?')[0]} did not answer with JSON") from error
