"""gunicorn's response without the work that it repeats for every answer."""

import time
from functools import lru_cache
from typing import Any

from gunicorn import util
from gunicorn.http.wsgi import TOKEN_RE, Response

_LINE = "%s: %s\r\n".__mod__


class LeanResponse(Response):
    """A response whose headers are checked and formatted together, and whose date is formatted once a second.

    gunicorn's own code handles every header that is not plain: visible ASCII, end-to-end, and a text.
    """

    headers_sent: bool
    _lines: str | None = None  # the headers as they are sent

    def process_headers(self, headers: list[tuple[str, str]]) -> None:
        self._lines = None  # those of an answer that an error replaces
        lines = "".join(map(_LINE, headers))
        names, values = zip(*headers, strict=True) if headers else ((), ())
        place = _place_of_length(names)
        if place is None or not _are_plain(values, lines):
            super().process_headers(headers)
            return
        self.headers, self._lines = headers, lines
        if place < len(values):
            self.response_length = int(values[place])

    def send_headers(self) -> None:
        if self._lines is None or self._omits_body or self.headers_sent:
            super().send_headers()
            return
        util.write(self.sock, "".join([*self.default_headers(), self._lines, "\r\n"]).encode("latin-1"))
        self.headers_sent = True

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
def _place_of_length(names: tuple[Any, ...]) -> int | None:
    """Return the place of Content-Length among headers, their number if it is not there, or None if a name is not
    plain: valid, end-to-end, and not repeated if it is Content-Length.
    """
    lower = [name.lower() for name in names if isinstance(name, str) and TOKEN_RE.fullmatch(name)]
    if len(lower) < len(names) or lower.count("content-length") > 1 or any(map(util.is_hoppish, lower)):
        return None
    return lower.index("content-length") if "content-length" in lower else len(lower)


def _are_plain(values: tuple[Any, ...], lines: str) -> bool:
    """Return True if all values are texts of printable ASCII, with no space around them that is not sent."""
    try:
        text = "".join(values)
    except TypeError:
        return False
    return text.isascii() and text.isprintable() and ":  " not in lines and " \r\n" not in lines


class Snapshot:
    """gunicorn's configuration with plain attributes, because gunicorn's own looks each setting up by its name."""

    def __init__(self, configuration: Any) -> None:
        self._configuration = configuration
        vars(self).update({name: getattr(configuration, name) for name in configuration.settings})
        self.scheme_headers = frozenset(configuration.secure_scheme_headers)

    def __getattr__(self, name: str) -> Any:  # what follows from several settings
        return getattr(self._configuration, name)
