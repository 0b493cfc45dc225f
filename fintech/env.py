"""Read settings from the environment: `NAME`, or the content of the file that `NAME_FILE` names.

A missing or invalid value raises `SettingError` with one sentence that names the remedy.

A library such as environs would replace little of it: the bounds, the addresses, the refusal of `NAME` beside
`NAME_FILE`, and the sentences would remain.
"""

import os
import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

MAX_PORT = 65535


class SettingError(ImproperlyConfigured):
    """A missing or invalid setting; the message is one sentence for the person who starts the program."""


def text(name: str, default: str | None = None) -> str:
    """Return the setting `name`; a file named by `NAME_FILE` is read without its trailing line break."""
    path = os.environ.get(f"{name}_FILE")
    if path and name in os.environ:
        raise SettingError(f"{name} and {name}_FILE are both set: set one of them.")
    if path:
        try:
            value = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingError(f"{name}_FILE={path} cannot be read: {error}.") from None
    else:
        value = os.environ.get(name, "")
    if value:
        return value
    if default is None:
        raise SettingError(f"{name} is not set: set {name}, or {name}_FILE to a file that contains it.")
    return default


def boolean(name: str, default: bool) -> bool:
    value = text(name, str(default))
    if value not in ("True", "False"):
        raise SettingError(f"{name}={value!r} is wrong: use True or False.")
    return value == "True"


def number(name: str, default: float, *, least: float = 0, most: float = float("inf")) -> float:
    value = text(name, str(default))
    try:
        result = float(value)
    except ValueError:
        raise SettingError(f"{name}={value!r} is wrong: use a number.") from None
    if not least <= result <= most:
        raise SettingError(f"{name}={value} is wrong: use a number from {least:g} to {most:g}.")
    return result


def integer(name: str, default: int, *, least: int = 0, most: int = 2**31) -> int:
    result = number(name, default, least=least, most=most)
    if result != int(result):
        raise SettingError(f"{name}={result} is wrong: use a whole number.")
    return int(result)


def choice(name: str, default: str, choices: Sequence[str]) -> str:
    value = text(name, default)
    if value not in choices:
        raise SettingError(f"{name}={value!r} is wrong: use one of {', '.join(choices)}.")
    return value


def address(name: str, default: str) -> tuple[str, int]:
    """Return an address to listen on; an IPv6 host is in brackets. Port 0 is any free port."""
    match = re.fullmatch(r"(\[[^\[\]]+\]|[^:\[\]]+):([0-9]{1,5})", text(name, default))
    if match is None or int(match[2]) > MAX_PORT:
        raise SettingError(f"{name} is wrong: use host:port or [IPv6]:port, such as {default}.")
    return match[1], int(match[2])


def url(name: str, default: str) -> str:
    """Return the address of another service; "" if that is the default."""
    value = text(name, default)
    if value and not _is_url(value):
        raise SettingError(f"{name} is wrong: use an address such as {default or 'http://127.0.0.1:9090'}.")
    return value


def urls(name: str) -> list[str]:
    """Return a comma-separated list of addresses; by default it is empty."""
    found = words(name, "")
    for value in found:
        if not _is_url(value):
            raise SettingError(
                f"{name} is wrong: use addresses such as http://127.0.0.1:9464/metrics, separated by commas."
            )
    return found


def _is_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an invalid port
        return False


def webhook_secret(name: str) -> str:
    """Return a secret by the Standard Webhooks specification; "" by default."""
    value = text(name, "")
    match = re.fullmatch(r"whsec_([A-Za-z0-9+/]{32,86}={0,2})", value)
    if value and (match is None or len(match[1]) % 4):
        raise SettingError(f"{name} is wrong: use whsec_ followed by 24 to 64 random bytes in base64.")
    return value


def words(name: str, default: str) -> list[str]:
    """Return a comma-separated list."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


ANY = "*"
_ROUTE = re.compile(r"(?:([1-9][0-9]*):)?([A-Z]{3}|\*)=([a-z0-9_-]+(?:>[a-z0-9_-]+)*)")


def routes(name: str) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the gateways in order of preference, by merchant and currency; `ANY` is every other one."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for rule in words(name, ""):
        match = _ROUTE.fullmatch(rule)
        if match is None:
            raise SettingError(f"{name} is wrong: {rule!r} is not a rule such as USD=stripe or 7:EUR=first>second.")
        gateways = tuple(match[3].split(">"))
        if (match[1] or ANY, match[2]) in found or len(set(gateways)) < len(gateways):
            raise SettingError(f"{name} is wrong: {rule!r} repeats a rule or a gateway.")
        found[match[1] or ANY, match[2]] = gateways
    return found


def runtime_dir() -> Path:
    """Return the folder for files that the processes of one host share: metrics and throttle counters."""
    return Path(text("RUNTIME_DIR", str(Path(__file__).resolve().parent.parent / "var" / "runtime")))


def host_id() -> str:
    """Return the host's name, and on Linux the id of its boot: clones of one machine have the same name at first."""
    boot = ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{socket.gethostname()} {boot}".strip()
