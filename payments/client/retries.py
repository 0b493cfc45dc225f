"""Retries for `payments_client`: a request is repeated unchanged, so with the same Idempotency-Key.

transport = RetryingTransport()
client = AuthenticatedClient(base_url=URL, token=API_KEY, httpx_args={"transport": transport})
"""

import random
import time

import httpx

IDEMPOTENT_METHODS = frozenset(["GET", "HEAD", "OPTIONS"])
# The service asks for a repetition by 409 only together with Retry-After.
BUSY = frozenset([429, 502, 503, 504])
MAX_PAUSE_SECONDS = 30.0


class RetryingTransport(httpx.BaseTransport):
    """Repeat requests that were lost or refused for a short time, with growing pauses or after Retry-After.

    A request that changes something is repeated only if it has an Idempotency-Key: the service then does it once.
    """

    def __init__(
        self, inner: httpx.BaseTransport | None = None, *, attempts: int = 5, pause_seconds: float = 0.5
    ) -> None:
        self._inner = inner or httpx.HTTPTransport()
        self._attempts, self._pause_seconds = attempts, pause_seconds

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        is_safe = request.method in IDEMPOTENT_METHODS or "Idempotency-Key" in request.headers
        for attempt in range(1, (self._attempts if is_safe else 1)):
            pause = self._pause_seconds * 2 ** (attempt - 1) * random.uniform(0.5, 1)  # noqa: S311 - jitter
            try:
                response = self._inner.handle_request(request)
                response.read()  # the rest of an answer may be lost, too
            except httpx.TransportError:
                pass
            else:
                if not _asks_for_repetition(response):
                    return response
                pause = _retry_after(response) or pause
                response.close()
            time.sleep(min(pause, MAX_PAUSE_SECONDS))
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


def _asks_for_repetition(response: httpx.Response) -> bool:
    return response.status_code in BUSY or (response.status_code == 409 and "Retry-After" in response.headers)


def _retry_after(response: httpx.Response) -> float:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else 0.0
