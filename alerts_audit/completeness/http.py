"""Requests to Alertmanager and Prometheus, bounded in time and size; `PollError` describes the failure."""

from typing import Any

import orjson
import urllib3

from fintech.connection_pools import make_pool
from fintech.errors import Unavailable

# 10,000 alerts with long annotations are about 20 MB.
MAX_ANSWER = 64 * 1024 * 1024
MAX_ANSWER_SECONDS = 30

http = make_pool(
    answer_seconds=MAX_ANSWER_SECONDS, timeout=urllib3.Timeout(connect=2, read=10), retries=False, maxsize=2
)


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
            content = response.read(MAX_ANSWER + 1)
        finally:
            response.close()
    except urllib3.exceptions.HTTPError as error:
        raise PollError(f"{place} does not answer: {type(error).__name__}") from error
    if response.status != 200:
        raise PollError(f"{place} answered {response.status}")
    if len(content) > MAX_ANSWER:
        raise PollError(f"{place} answered with more than {MAX_ANSWER} bytes")
    return content


def fetch_json(base_url: str, path: str) -> Any:
    try:
        return orjson.loads(fetch(base_url, path))
    except orjson.JSONDecodeError as error:
        raise PollError(f"{base_url}{path.partition('?')[0]} did not answer with JSON") from error
