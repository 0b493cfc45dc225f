"""Ask Prometheus and Alertmanager what they have loaded: both start happily with nothing."""

import json
import urllib.error
import urllib.request
from typing import Any

SECONDS = 3.0
# Never through a proxy: the programs are on this machine.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def missing_in_prometheus(url: str) -> list[str]:
    """Return what is missing, in words; also that it does not answer."""
    try:
        parts = {
            "rules": _ask(url, "/api/v1/rules")["data"]["groups"],
            "targets": _ask(url, "/api/v1/targets?state=active")["data"]["activeTargets"],
            "Alertmanager": _ask(url, "/api/v1/alertmanagers")["data"]["activeAlertmanagers"],
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"answer ({error})"]
    return [name for name, found in parts.items() if not found]


def missing_in_alertmanager(url: str) -> list[str]:
    """Return the receivers that are missing; also that it does not answer."""
    try:
        names = {receiver["name"] for receiver in _ask(url, "/api/v2/receivers")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"answer ({error})"]
    return [f"receiver {name}" for name in ("audit", "page", "ticket") if name not in names]


def _ask(url: str, path: str) -> Any:
    with OPENER.open(url.rstrip("/") + path, timeout=SECONDS) as response:
        return json.load(response)
