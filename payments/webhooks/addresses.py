"""The addresses that may receive webhooks: public ones, over HTTPS, on two ports.

A merchant chooses the URL, and our worker is inside of our network: without these rules a merchant could reach our own
services. The URL is checked when it is stored. The address is checked at every connection, after the name was resolved,
because the name may resolve to another address a moment later.
"""

import ipaddress
import re
import socket
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

PORTS = (443, 8443)
MAX_URL_LENGTH = 2048
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# The last label begins with a letter. Resolvers read a number there as an IPv4 address: 127.1, 0x7f000001, 2130706433.
_LABEL_END = "(?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z)(?:[a-z0-9]{_LABEL_END}\.)*[a-z]{_LABEL_END}", re.ASCII)
# The IPv6 addresses that IANA gives to the internet. Python also calls others global, such as site-local ones.
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
# Its addresses contain an IPv4 address that a translator would connect to.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class ForbiddenAddress(OSError):
    """The name resolves to an address that is not public."""


def check_url(url: str) -> None:
    """Raise ValueError with a sentence unless webhooks may be sent to this URL."""
    if len(url) > MAX_URL_LENGTH or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"use at most {MAX_URL_LENGTH} visible ASCII characters")
    parts = urlsplit(url)
    host, port = parts.hostname, parts.port  # the port raises ValueError itself
    if not host:
        raise ValueError("use an address such as https://shop.example/webhooks")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("leave out user, password and fragment")
    literal = _read_literal(host)
    if port == 0 or (literal is None and not _NAME.fullmatch(host)):
        raise ValueError("use a valid host and port")
    if host in LOOPBACK_NAMES and settings.WEBHOOKS_TO_LOOPBACK and parts.scheme in ("http", "https"):
        return
    if parts.scheme != "https":
        raise ValueError("use https")
    if (port or 443) not in PORTS:
        raise ValueError("use port 443 or 8443")
    if host == "localhost" or host.endswith(".localhost"):
        raise ValueError("use a public host")
    if literal is not None and not is_public(literal):
        raise ValueError("use a public address")


def is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_UNICAST and address not in _NAT64:
        return False
    return all(part.is_global and not part.is_multicast for part in (address, *_embedded(address)))


def open_socket(info: Any) -> socket.socket:
    """Return a socket for an address that was resolved, as aiohttp's factory. Raise ForbiddenAddress.

    The connection goes to exactly this address, so that a second resolution cannot lead elsewhere.
    """
    family, kind, protocol, _, (host, *_) = info
    address = ipaddress.ip_address(host.partition("%")[0])
    if not (is_public(address) or (settings.WEBHOOKS_TO_LOOPBACK and address.is_loopback)):
        raise ForbiddenAddress(f"{address} is not a public address")
    return socket.socket(family, kind, protocol)


def _read_literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _embedded(address: Address) -> list[Address]:
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found: list[Address | None] = [address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return [part for part in found if part is not None]
