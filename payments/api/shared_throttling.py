"""The rate limit of each API key over all hosts: the cells of `throttling.py` in a Valkey or Redis server.

The script runs on the server and uses its clock, so the clocks of the hosts do not matter. If the server does not
answer, each host limits by itself, and `throttle_fallbacks_total` counts these requests.
"""

import logging
import threading
import time

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from fintech.server import cooperation
from payments import metrics
from payments.api.throttling import Throttle
from payments.schemas import MAX_BATCH

logger = logging.getLogger("payments.api.shared_throttling")

# After a failure the server is left alone for this time: the requests do not wait for it.
PAUSE_SECONDS = 1

TAKE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local interval, ahead, most_ahead, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local even = tonumber(redis.call('GET', KEYS[1]) or now)
if even > now + most_ahead then even = now end -- impossible: the limit was changed
even = math.max(even, now)
local wait = even + interval - now - ahead
if wait > 0 then return string.format('%.6f', wait) end
even = even + cost * interval
redis.call('SET', KEYS[1], string.format('%.6f', even), 'PX', math.ceil((even - now) * 1000) + 1000)
return '0'
"""


class SharedThrottle:
    """A throttle of all hosts, which falls back to that of this host."""

    def __init__(self, url: str, fallback: Throttle, *, rate: float, burst: float, timeout: float) -> None:
        interval, ahead = 1 / rate, burst / rate
        self._limits = (interval, ahead, ahead + MAX_BATCH * interval)
        self._fallback = fallback
        self._client = redis.Redis.from_url(
            url,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            # The server may have closed an idle connection. One that hangs is not asked again.
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
            decode_responses=True,
        )
        self._script = self._client.register_script(TAKE)
        self._paused_until, self._lock = 0.0, threading.Lock()

    def take(self, key_id: int, cost: int = 1) -> float:
        """Count `cost` requests and return 0, or count none and return the seconds to wait."""
        if time.monotonic() >= self._paused_until:
            try:
                return cooperation.offload(self._ask, key_id, cost)
            except redis.RedisError as error:
                self._pause(error)
        metrics.THROTTLE_FALLBACKS.inc()
        return self._fallback.take(key_id, cost)

    def _ask(self, key_id: int, cost: int) -> float:
        return float(self._script(keys=[f"throttle:{key_id}"], args=[*self._limits, cost]))

    def _pause(self, error: redis.RedisError) -> None:
        with self._lock:
            if time.monotonic() >= self._paused_until:
                self._paused_until = time.monotonic() + PAUSE_SECONDS
                logger.warning("throttle_unavailable", extra={"error": type(error).__name__})
