"""Pools of connections to other servers, for threads, whose answers have a time limit as a whole.

urllib3's own limit is one for each read: a server that sends a byte every few seconds would hold the thread for ever.
"""

import io
import socket
import time
from http.client import HTTPResponse
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection


def make_pool(*, answer_seconds: float | None = None, **options: Any) -> urllib3.PoolManager:
    """Return a pool in which an answer, with its head, takes at most `answer_seconds`; None: the limit of a read."""

    class Answer(_TimedAnswer):
        seconds = answer_seconds

    class Plain(HTTPConnection):
        response_class = Answer

    class Secure(HTTPSConnection):
        response_class = Answer

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secure

    pool = urllib3.PoolManager(**options)
    pool.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
    return pool


class _TimedAnswer(HTTPResponse):
    """An answer of which every read, also that of its head, ends at one time."""

    seconds: float | None

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_TimedReader(self.fp.detach(), sock, self.seconds))


class _TimedReader(io.RawIOBase):
    def __init__(self, raw: io.RawIOBase, sock: socket.socket, seconds: float | None) -> None:
        limit = sock.gettimeout()
        assert limit is not None  # every pool has a limit for a read
        self._raw, self._socket, self._limit = raw, sock, limit
        self._end = time.monotonic() + (limit if seconds is None else seconds)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer takes too long")
        self._socket.settimeout(min(left, self._limit))
        try:
            return self._raw.readinto(buffer)
        finally:
            self._socket.settimeout(self._limit)  # for the next request of this connection

    def close(self) -> None:
        self._raw.close()
        super().close()
