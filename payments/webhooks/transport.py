"""One signed POST to an endpoint, bounded in time and size.

No redirect is followed, no cookie kept, no proxy used, no answer decompressed. aiohttp's total time limit includes
resolving, connecting, TLS and a response that arrives byte by byte.
"""

import asyncio
import ssl
import time
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
from aiohttp.abc import AbstractResolver

from payments.webhooks.addresses import ForbiddenAddress, open_socket
from payments.webhooks.results import TIMEOUT_SECONDS, Outcome, Result

CONNECT_SECONDS = 5.0
MAX_ANSWER_BYTES = 1024
# After the status is known, the body may take this long: it is only kept for people.
BODY_SECONDS = 1.0
MAX_RETRY_AFTER_SECONDS = 24 * 3600.0
IDLE_SECONDS = 15.0


class Transport:
    """The connections of one event loop, pooled by endpoint."""

    def __init__(self, *, resolver: AbstractResolver | None = None, timeout: float = TIMEOUT_SECONDS) -> None:
        connector = aiohttp.TCPConnector(
            limit=0,
            keepalive_timeout=IDLE_SECONDS,
            resolver=resolver,
            use_dns_cache=False,
            socket_factory=open_socket,
            ssl=ssl.create_default_context(),
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"Accept-Encoding": "identity", "User-Agent": "payments-webhooks/1"},
            timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=min(CONNECT_SECONDS, timeout)),
        )

    async def close(self) -> None:
        await self._session.close()

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> Result:
        """Send, and return how it ended. Never raises for what the endpoint or the network does."""
        start = time.monotonic()

        def took() -> int:
            return round((time.monotonic() - start) * 1000)

        content = {"Content-Type": "application/json", **headers}
        try:
            async with self._session.post(url, data=body, headers=content, allow_redirects=False) as response:
                answer = await _read_answer(response)
                retry_after = read_retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
                return Result(_outcome_of(response.status), took(), response.status, answer, retry_after)
        except TimeoutError:
            return Result(Outcome.TIMEOUT, took(), answer="No answer in time.")
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
            return Result(Outcome.CERTIFICATE, took(), answer=_text_of(error))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            forbidden = _find_forbidden(error)
            if forbidden is not None:
                return Result(Outcome.ADDRESS, took(), answer=_text_of(forbidden))
            return Result(Outcome.CONNECTION, took(), answer=_text_of(error))


async def _read_answer(response: aiohttp.ClientResponse) -> str:
    """Return the first KiB of the body; the rest is not read, and the connection closed."""
    content = b""
    with suppress(TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout(BODY_SECONDS):
            while len(content) < MAX_ANSWER_BYTES:
                part = await response.content.read(MAX_ANSWER_BYTES - len(content))
                if not part:
                    break
                content += part
    if not response.content.at_eof():
        response.close()
    return content.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


def _outcome_of(status: int) -> str:
    if 200 <= status < 300:
        return Outcome.DELIVERED
    if status == 410:
        return Outcome.GONE
    return Outcome.REDIRECT if 300 <= status < 400 else Outcome.REFUSED


def read_retry_after(value: str | None, now: datetime) -> float | None:
    """Return the seconds of a Retry-After header, at most a day; None without a valid one."""
    if not value:
        return None
    try:
        seconds = float(value) if value.isascii() and value.isdigit() else _until(value, now)
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, seconds), MAX_RETRY_AFTER_SECONDS)


def _until(value: str, now: datetime) -> float:
    moment = parsedate_to_datetime(value)
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds()


def _find_forbidden(error: BaseException | None) -> ForbiddenAddress | None:
    """Search the causes: aiohttp wraps the error of a socket, and joins those of several addresses."""
    while error is not None:
        if isinstance(error, ForbiddenAddress):
            return error
        error = error.__cause__ or error.__context__
    return None


def _text_of(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".replace("\0", " ")[:MAX_ANSWER_BYTES]
