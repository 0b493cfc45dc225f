"""gunicorn's response without the work that it repeats for every answer."""

import time
from functools import lru_cache
from typing import Any

from gunicorn import util
from gunicorn.http.wsgi import HEADER_VALUE_RE, TOKEN_RE, Response


class LeanResponse(Response):
    """A response whose header names were checked before, and whose date is formatted once a second."""

    def process_headers(self, headers: list[tuple[str, str]]) -> None:
        special = []
        for name, value in headers:
            if _is_plain(name) and isinstance(value, str) and HEADER_VALUE_RE.fullmatch(value):
                self.headers.append((name, value.strip(" \t")))
            else:
                special.append((name, value))
        super().process_headers(special)

    def default_headers(self) -> list[str]:
        if self.upgrade:
            return list(super().default_headers())
        major, minor = self.req.version
        connection = "close" if self.should_close() else "keep-alive"
        headers = [
            f"HTTP/{major}.{minor} {self.status}\r\n"
            f"Server: {self.version}\r\nDate: {_date(int(time.time()))}\r\nConnection: {connection}\r\n"
        ]
        if self.chunked:
            headers.append("Transfer-Encoding: chunked\r\n")
        return headers


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return str(util.http_date(second))


@lru_cache(maxsize=256)
def _is_plain(name: Any) -> bool:
    """Return True for a header that is sent as it is: valid, end-to-end, and not Content-Length."""
    if not isinstance(name, str) or not TOKEN_RE.fullmatch(name):
        return False
    return not util.is_hoppish(name) and name.lower() != "content-length"


class Snapshot:
    """gunicorn's configuration with plain attributes, because gunicorn's own looks each setting up by its name."""

    def __init__(self, configuration: Any) -> None:
        self._configuration = configuration
        vars(self).update({name: getattr(configuration, name) for name in configuration.settings})
        self.scheme_headers = frozenset(configuration.secure_scheme_headers)

    def __getattr__(self, name: str) -> Any:  # what follows from several settings
        return getattr(self._configuration, name)
