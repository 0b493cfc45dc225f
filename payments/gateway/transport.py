"""Transports of requests to the gateway: urllib3 in threads, aiohttp on the web's event loop.

Both pool connections, verify certificates, follow no redirect, keep no cookie and try nothing again. Both raise
`NotReached` only if the gateway cannot have read the request. Of an answer that is larger than `max_bytes`, both
return one byte more, and leave the rest unread: an endless one costs no memory. An answer that arrives byte by byte
ends both after `timeout`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from fintech.connection_pools import make_pool
from fintech.server import cooperation

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


class LoopTransport:
    """Lets the calling task wait, and all others go on."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._session: aiohttp.ClientSession | None = None

    def send(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], timeout: float) -> Received:
        return cooperation.run(self._send(method, url, body, headers, timeout))

    async def _send(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], timeout: float
    ) -> Received:
        connect = min(CONNECT_SECONDS, timeout)
        limits = aiohttp.ClientTimeout(total=connect + timeout, sock_connect=connect, sock_read=timeout)
        try:
            async with self._open_session().request(
                method, url, data=body, headers=headers, timeout=limits, allow_redirects=False
            ) as response:
                content = b""
                while part := await response.content.read(self._max_bytes + 1 - len(content)):
                    content += part
                if len(content) > self._max_bytes:
                    response.close()  # as above
                return Received(response.status, content, response.headers.get("traceresponse"))
        except aiohttp.ClientSSLError as error:
            raise NoAnswer(type(error).__name__) from error
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NotReached(type(error).__name__) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NoAnswer(type(error).__name__) from error

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept-Encoding": "identity"},
                skip_auto_headers=["Accept", "User-Agent"],
            )
            cooperation.at_end(self._session.close)
        return self._session
