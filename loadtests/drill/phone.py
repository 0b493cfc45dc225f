"""A stand-in for Telegram's Bot API: what people are notified of, and when."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from observability.render import Telegram


class Phone:
    """The messages that people got, with their times in seconds since 1970."""

    def __init__(self, port: int) -> None:
        self.telegram = Telegram(chat_id=-1, bot_token="1:drill", api_url=f"http://127.0.0.1:{port}")  # noqa: S106
        self.messages: list[tuple[float, str]] = []

    def rang(self, alert: str, *, since: float) -> float | None:
        """Return when people were first notified of the alert after `since`."""
        return next((at for at, text in self.messages if at >= since and alert in text), None)


@contextmanager
def ringing_phone() -> Iterator[Phone]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            phone.messages.append((time.time(), sent["text"]))
            message = {"message_id": len(phone.messages), "date": 1, "chat": {"id": -1, "type": "group"}, "text": "x"}
            body = json.dumps({"ok": True, "result": message}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        phone = Phone(server.server_port)
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        yield phone
        server.shutdown()
