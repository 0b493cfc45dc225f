"""`python -m loadtests.webhook_receiver`: a merchant's server, which registers itself and verifies every webhook.

It is a part of `make run`. The secret of its endpoint is in a file, so that a restart keeps the endpoint.
"""

import argparse
import base64
import hashlib
import hmac
import http.client
import json
import logging
import time
from collections.abc import Mapping
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fintech import env
from fintech.secret_files import read_secret, write_secret
from fintech.telemetry.logging import write_json_lines

logger = logging.getLogger("merchant")

MAX_BODY_BYTES = 1024 * 1024
MAX_AGE_SECONDS = 300
PATH = "/v1/webhook-endpoints"


def verify(secret: str, headers: Mapping[str, str] | Message, body: bytes) -> bool:
    """Check a signature by the Standard Webhooks specification, as docs/webhooks.md explains."""
    timestamp = headers.get("webhook-timestamp") or ""
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > MAX_AGE_SECONDS:
        return False
    content = f"{headers.get('webhook-id')}.{timestamp}.".encode() + body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    signatures = (headers.get("webhook-signature") or "").split(" ")
    return any(hmac.compare_digest(expected.encode(), signature.encode()) for signature in signatures)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    secret = ""

    def do_GET(self) -> None:
        self._answer(200 if self.path == "/health" else 404)

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > MAX_BODY_BYTES:
            self.close_connection = True
            self._answer(413)
            return
        body = self.rfile.read(length)
        if not verify(self.secret, self.headers, body):
            logger.warning("webhook_refused", extra={"webhook": self.headers.get("webhook-id")})
            self._answer(401)
            return
        event = json.loads(body)
        extra = {"webhook": event["id"], "type": event["type"], "object": event["data"]["id"]}
        logger.info("webhook_received", extra=extra)
        self._answer(200)

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing: each webhook has a line of its own."""

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


class Api:
    """The calls of a merchant to the payments API."""

    def __init__(self, url: str, key: str) -> None:
        self._host, self._key = urlsplit(url).netloc, key

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Return status and body. Raise OSError or HTTPException without an answer."""
        connection = http.client.HTTPConnection(self._host, timeout=10)
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def register(self, url: str, secret: str | None) -> str:
        """Return the secret of the endpoint with this URL: the known one, or one of a new endpoint or rotation."""
        endpoints = self._expect(200, "GET", PATH)["data"]
        known = next((endpoint for endpoint in endpoints if endpoint["url"] == url), None)
        if known is None:
            description = "The receiver of make run"
            return self._expect(201, "POST", PATH, {"url": url, "description": description})["secret"]
        if not known["enabled"]:
            self._expect(200, "PATCH", f"{PATH}/{known['id']}", {"enabled": True})
        return secret or self._expect(201, "POST", f"{PATH}/{known['id']}/secret")["secret"]

    def _expect(self, wanted: int, method: str, path: str, body: object = None) -> Any:
        status, answer = self.call(method, path, body)
        if status != wanted:
            raise ConnectionError(f"{method} {path} answers {status}: {answer}")
        return answer


def register_patiently(api: Api, url: str, file: Path) -> str:
    """Register once the API answers, and keep the secret in `file`."""
    while True:
        try:
            secret = api.register(url, read_secret(file))
        except (OSError, http.client.HTTPException, ValueError) as error:
            logger.info("waiting_for_the_api", extra={"error": str(error)[:200]})
            time.sleep(0.3)
            continue
        write_secret(file, secret)
        return secret


def main() -> None:
    parser = argparse.ArgumentParser(description="A merchant's server, which registers itself and verifies webhooks.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--api", required=True, help="the address of the payments API")
    parser.add_argument("--secret-file", type=Path, required=True, help="keeps the secret of the endpoint")
    options = parser.parse_args()
    write_json_lines()
    url = f"http://127.0.0.1:{options.port}/webhooks"
    Handler.secret = register_patiently(Api(options.api, env.text("API_KEY")), url, options.secret_file)
    logger.info("listening", extra={"url": url})
    ThreadingHTTPServer(("127.0.0.1", options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
