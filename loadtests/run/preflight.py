"""Checks before the first request of a load test: the key, the target and the folder of the results."""

import http.client
import json
import os
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from loadtests.run import LoadTestError

SECONDS = 10.0
PATH = "/v1/transactions"


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A POST that is redirected becomes a GET, so a redirect is an answer like any other here."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


OPENER = urllib.request.build_opener(NoRedirect, urllib.request.ProxyHandler({}))


def read_key(path: Path) -> str:
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LoadTestError(f"The API key file {path} cannot be read: {reason}; `make run` creates it.") from None
    if not key.isascii() or not key.isprintable() or not key:
        raise LoadTestError(f"The API key file {path} contains no key.")
    return key


def check_output(folder: Path) -> None:
    """Create the folder, and check that files can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise LoadTestError(f"Nothing can be written to {folder}: {error.strerror}.") from None


def check_target(url: str, key: str, key_file: Path) -> None:
    """Read one page of the merchant's payments."""
    status, headers, body = ask(url, key)
    if status == 200:
        if not is_list(body):
            raise LoadTestError(f"{url} is not the payments API: GET {PATH} is no list of payments.")
    elif 300 <= status < 400:
        target = headers.get("Location", "elsewhere")
        raise LoadTestError(f"{url} redirects to {target}: give the final address as --base-url.")
    elif status in (401, 403):
        raise LoadTestError(f"{url} refuses the API key in {key_file} ({status}): give its own with --api-key-file.")
    else:
        raise LoadTestError(f"{url} is not ready: GET {PATH} answers {status}{describe(body)}.")


def ask(url: str, key: str) -> tuple[int, Any, bytes]:
    # The scheme was checked with the options.
    request = urllib.request.Request(f"{url}{PATH}?limit=1", headers={"Authorization": f"Bearer {key}"})  # noqa: S310
    try:
        with OPENER.open(request, timeout=SECONDS) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read(2000)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        said = os.strerror(reason.errno) if isinstance(reason, ConnectionError) and reason.errno else str(reason)
        said = " ".join(said.split())
        raise LoadTestError(f"{url} does not answer ({said}): is `make run` running there?") from None


def is_list(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body)["data"], list)
    except (ValueError, KeyError, TypeError):
        return False


def describe(body: bytes) -> str:
    """Return the detail of a problem document, or ""."""
    try:
        return f": {json.loads(body)['detail']}".rstrip(".")
    except (ValueError, KeyError, TypeError):
        return ""
