"""Transports of requests to the gateway: urllib3 in threads, here; aiohttp on the web's event loop, in
`loop_transport.py`, because loading aiohttp is a sixth of the start of all other programs.

Both pool connections, verify certificates, follow no redirect, keep no cookie and try nothing again. Both raise
`NotReached` only if the gateway cannot have read the request. Of an answer that is larger than `max_bytes`, both
return one byte more, and leave the rest unread: an endless one costs no memory. An answer that arrives byte by byte
ends both after `timeout`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from fintech.connection_pools import make_pool

CONNECT_SECONDS = 1.0
# Below the minute after which most servers close an idle connection.
IDLE_SECONDS = 15.0


class NotReached(Exception):
    """Raised without a connection: nothing was sent."""


class NoAnswer(Exception):
    """Raised without an answer: the gateway may have read the request."""


@dataclass(frozen=True)
class Received:
    status: int
    content: bytes
    traceresponse: str | None


class ThreadTransport:
    """Blocks the calling thread."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.pool = make_pool(num_pools=1, maxsize=256, retries=False)

    def send(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], timeout: float) -> Received:
        limits = urllib3.Timeout(connect=min(CONNECT_SECONDS, timeout), read=timeout)
        try:
            response = self.pool.request(method, url, body=body, headers=headers, timeout=limits, preload_content=False)
            content = response.read(self._max_bytes + 1)
        except (NewConnectionError, ConnectTimeoutError) as error:
            raise NotReached(type(error).__name__) from error
        except HTTPError as error:  # also TLS: it can fail when the order has already been read
            raise NoAnswer(type(error).__name__) from error
        if len(content) > self._max_bytes:
            response.close()  # the rest is not read, so the connection cannot be used again
        return Received(response.status, content, response.headers.get("traceresponse"))
