"""The transport of requests to the gateway on the web's event loop: see transport.py."""

from collections.abc import Mapping

import aiohttp

from fintech.server import cooperation
from payments.gateway.transport import CONNECT_SECONDS, IDLE_SECONDS, NoAnswer, NotReached, Received


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
                    response.close()  # the rest is not read, so the connection cannot be used again
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
