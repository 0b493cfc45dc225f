"""The addresses that a customer may be sent back to after a challenge: https, and a host that the merchant lists.

A browser follows the address, so it must mean the same to a browser as to us: text that browsers read leniently, such
as a backslash or a control character, is refused.
"""

import re
from collections.abc import Collection

from payments.errors import InvalidRequest

PARAM = "return_url"
MAX_HOSTS = 100

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}(?::|\Z)){_LABEL}(?:\.{_LABEL})*(?::[1-9][0-9]{{0,4}})?", re.ASCII)
_VISIBLE = re.compile(r"[\x21-\x7e]+")


def check_return_url(url: str) -> None:
    """Raise InvalidRequest unless it is an https address without user, password and fragment."""
    if not _VISIBLE.fullmatch(url) or "\\" in url:
        raise _invalid("contains a character that a URL cannot: use visible ASCII, percent-encoded")
    if not url.startswith("https://"):
        raise _invalid("must begin with https://")
    if "#" in url:
        raise _invalid("cannot have a fragment (#)")
    authority = _authority(url)
    if "@" in authority:
        raise _invalid("cannot contain a user or a password")
    if not is_host(authority):
        raise _invalid("has no valid host: use a DNS name, in ASCII, with an optional port")


def check_return_host(url: str, hosts: Collection[str]) -> None:
    """Raise InvalidRequest unless the merchant lists the host of a valid return_url."""
    host = _authority(url)
    if host.removesuffix(":443") not in hosts:
        detail = f"The host {host} is not a return host of this merchant: an operator adds it in the admin."
        raise InvalidRequest("return_url_not_allowed", detail, param=PARAM)


def is_host(text: str) -> bool:
    """Return True for a DNS name in lower case, with an optional port."""
    return bool(_HOST.fullmatch(text)) and int(text.partition(":")[2] or 443) <= 65_535


def _authority(url: str) -> str:
    return re.split("[/?]", url[8:], maxsplit=1)[0].lower()


def _invalid(reason: str) -> InvalidRequest:
    return InvalidRequest("invalid_url", f"return_url {reason}.", param=PARAM)
