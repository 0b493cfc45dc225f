"""Messages from the real Alertmanager to a fake Bot API that parses them as strictly as Telegram."""

import json
import re
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest

from fintech.testing.processes import request, wait_until
from observability.render import Telegram
from observability.tests.alertmanager import running_alertmanager
from observability.tests.test_rules import ALERTS

pytestmark = pytest.mark.processes

TOKEN, CHAT = "123456:bot-token", -1001234567890
# Telegram's limit, in UTF-16 units of the text without its tags; Alertmanager's, in characters with them.
LONGEST = 4096
HOSTILE = '<b>&amp; "it\'s" _*[x](y)* 😀 </b><script>+\x00'


# --- What Telegram accepts ---------------------------------------------------------------------------------------


class TelegramHtml(HTMLParser):
    """A parser of the HTML subset that the Bot API documents for parse_mode=HTML; it refuses all other input."""

    TAGS = frozenset({"b", "strong", "i", "em", "u", "ins", "s", "strike", "del", "code", "pre", "a", "blockquote"})
    ENTITY = re.compile(r"&(lt|gt|amp|quot|#\d+|#x[0-9a-fA-F]+);")

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        if "&" in self.ENTITY.sub("", text):
            raise ValueError("an & that begins no entity")
        self.open: list[str] = []
        self.text, self.links = "", []  # type: tuple[str, list[str]]
        if any(character in text for character in "<>") and re.search(r"<(?![a-z/])", text):
            raise ValueError("a < that begins no tag")
        self.feed(text)
        self.close()
        if self.open:
            raise ValueError(f"not closed: {self.open}")

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in self.TAGS or [name for name, _ in attributes] != (["href"] if tag == "a" else []):
            raise ValueError(f"not allowed: {self.get_starttag_text()}")
        self.links += [value for _, value in attributes if value]
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            raise ValueError(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        self.text += data


def read_as_telegram(message: str) -> TelegramHtml:
    """Parse a message. Raise ValueError where Telegram would answer 400 and the message would be lost."""
    if len(message) > LONGEST:
        raise ValueError("Alertmanager would not have sent it as it is")
    read = TelegramHtml(message)
    if not read.text.strip() or len(read.text.encode("utf-16-le")) // 2 > LONGEST:
        raise ValueError("empty or too long")
    return read


@pytest.mark.parametrize(
    "message",
    [
        "<b>cut",
        "<b>a</i>",
        "a < b",
        "a & b",
        "<script>x</script>",
        "<b onclick='x'>a</b>",
        "<a>x</a>",
        "a &nbsp; b",
        "x" * 4097,
        "😀" * 2049,
        " ",
    ],
)
def test_the_fake_refuses_what_telegram_refuses(message):
    with pytest.raises(ValueError, match=r"\w"):
        read_as_telegram(message)


def test_the_fake_reads_what_telegram_reads():
    read = read_as_telegram('<b>a &lt; b</b> &#43; <a href="https://x.example/">c</a>')
    assert (read.text, read.links) == ("a < b + c", ["https://x.example/"])


# --- A fake Bot API ----------------------------------------------------------------------------------------------


@dataclass
class Message:
    """An accepted call of sendMessage."""

    chat: str
    silent: bool
    text: str
    links: list[str]


@dataclass
class BotApi:
    port: int = 0
    messages: list[Message] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def answer(self, path: str, sent: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if path != f"/bot{TOKEN}/sendMessage" or sent.get("parse_mode") != "HTML":
            self.refused.append(f"{path} {sent}")
            return 404, {"ok": False, "error_code": 404, "description": "Not Found"}
        try:
            read = read_as_telegram(sent["text"])
        except ValueError as error:
            self.refused.append(f"{error}: {sent['text']}")
            return 400, {"ok": False, "error_code": 400, "description": f"Bad Request: can't parse entities: {error}"}
        silent = str(sent.get("disable_notification")).lower() == "true"
        self.messages.append(Message(str(sent["chat_id"]), silent, read.text, read.links))
        chat = {"id": CHAT, "type": "supergroup"}
        return 200, {"ok": True, "result": {"message_id": len(self.messages), "date": 1, "chat": chat, "text": "x"}}

    def about(self, mark: str) -> list[Message]:
        return [message for message in self.messages if mark in message.text]


@pytest.fixture(scope="module")
def bot_api() -> Iterator[BotApi]:
    api = BotApi()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, answer = api.answer(self.path, sent)
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.port = server.server_port
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield api
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory, bot_api) -> Iterator[int]:
    """Run an Alertmanager that notifies the fake's chat, with a very short group_wait. Yield its port."""
    telegram = Telegram(chat_id=CHAT, bot_token=TOKEN, api_url=f"http://127.0.0.1:{bot_api.port}")
    with running_alertmanager(tmp_path_factory.mktemp("telegram"), telegram=telegram, speed=150) as port:
        yield port


def post(alertmanager: int, *alerts: dict[str, Any]) -> None:
    assert request(alertmanager, "POST", "/api/v2/alerts", list(alerts)).status == 200


def alert(name: str, *, topic: str, ends: bool = False, **changes: Any) -> dict[str, Any]:
    """Return one of our alerts as Prometheus sends it, in its own group."""
    rule = ALERTS[name]
    return {
        "labels": {"alertname": name, **rule["labels"], "topic": topic, **changes.pop("labels", {})},
        "annotations": {**rule["annotations"], **changes.pop("annotations", {})},
        "startsAt": "2026-03-01T14:03:00Z",
        **({"endsAt": datetime.now(UTC).isoformat()} if ends else {}),
        **changes,
    }


def message_about(bot_api: BotApi, mark: str, *, number: int = 0) -> Message:
    wait_until(lambda: len(bot_api.about(mark)) > number, 15, f"message {number} about {mark}; {bot_api.refused}")
    return bot_api.about(mark)[number]


# --- Messages ----------------------------------------------------------------------------------------------------


def test_a_page_has_fault_severity_start_and_links(alertmanager, bot_api):
    mark = secrets.token_hex(4)
    post(
        alertmanager,
        alert("PaymentErrorRatioHigh", topic=mark, annotations={"description": f"12% of the payments failed {mark}."}),
    )

    message = message_about(bot_api, mark)
    assert message.text.splitlines() == [
        "🔴 PaymentErrorRatioHigh, critical",
        "More than 5 % of payments fail.",
        f"12% of the payments failed {mark}.",
        "1 Mar 14:03 UTC",
        "observability/runbooks/PaymentErrorRatioHigh.md",
        "Dashboard",
    ]
    assert message.links == ["http://127.0.0.1:3000/d/finance-overview"]
    assert (message.chat, message.silent) == (str(CHAT), False)


def test_a_runbook_that_has_an_address_is_a_link(alertmanager, bot_api):
    mark = secrets.token_hex(4)
    url = "https://wiki.example/runbooks/KpiDrift?from=telegram#top"
    changes = {"description": mark, "runbook_url": url}
    post(alertmanager, alert("KpiDrift", topic=mark, annotations=changes))

    assert message_about(bot_api, mark).links[0] == url


def test_a_ticket_makes_no_sound(alertmanager, bot_api):
    mark = secrets.token_hex(4)
    post(alertmanager, alert("DeclineRatioHigh", topic=mark, annotations={"description": mark}))

    message = message_about(bot_api, mark)
    assert message.text.startswith("🟡 DeclineRatioHigh\n")
    assert message.silent


def test_people_are_notified_when_an_alert_resolves(alertmanager, bot_api):
    mark = secrets.token_hex(4)
    changes: dict[str, Any] = {"annotations": {"summary": f"Not one payment {mark}."}}
    post(alertmanager, alert("PaymentsStopped", topic=mark, **changes))
    message_about(bot_api, mark)
    post(alertmanager, alert("PaymentsStopped", topic=mark, ends=True, **changes))

    lines = message_about(bot_api, mark, number=1).text.splitlines()
    assert lines[:2] == ["🟢 PaymentsStopped is over", f"Not one payment {mark}."]
    assert re.fullmatch(r"1 Mar 14:03 to \d+ \w+ \d\d:\d\d UTC", lines[2])
    assert len(lines) == 3


def test_the_heartbeat_is_not_for_people(alertmanager, bot_api):
    mark = secrets.token_hex(4)
    watchdog = alert("Watchdog", topic=mark, annotations={"description": f"{mark} watchdog"})
    post(alertmanager, watchdog, alert("KpiDrift", topic=mark, annotations={"description": f"{mark} drift"}))

    assert "watchdog" not in message_about(bot_api, mark).text


@pytest.mark.parametrize("part", ["alertname", "severity", "summary", "description", "runbook_url", "dashboard_url"])
def test_a_label_is_text_and_never_a_tag(alertmanager, bot_api, part):
    mark = secrets.token_hex(4)
    hostile = alert("KpiDrift", topic=mark, annotations={"description": mark})
    holder = hostile["labels" if part in ("alertname", "severity") else "annotations"]
    if part == "severity":
        hostile["labels"]["note"] = HOSTILE  # the severity selects the receiver
    else:
        holder[part] = f"{mark}{HOSTILE}"
    post(alertmanager, hostile)

    message = message_about(bot_api, mark)
    if part in ("alertname", "summary", "description", "runbook_url"):
        assert f'{mark}<b>&amp; "it\'s" _*[x]' in message.text
    assert all(urlsplit(link).scheme in ("http", "https") for link in message.links)


@pytest.mark.parametrize("character", ["x", "&", "<", "😀", "'", "ß", "\n"])
def test_a_message_that_would_be_too_long_shows_three_alerts_and_how_many_there_are(alertmanager, bot_api, character):
    mark = secrets.token_hex(4)
    long = f"{mark} {character * 5000}"
    texts = {"summary": long, "description": long, "runbook_url": long, "dashboard_url": f"http://x/{'y' * 3000}"}
    alerts = [
        alert(
            "KpiDrift", topic=mark, annotations=texts, labels={"alertname": f"{long} {number}", "number": str(number)}
        )
        for number in range(40)
    ]
    post(alertmanager, *alerts)

    def messages_about_all() -> list[Message]:
        return [message for message in bot_api.about(mark) if message.text.endswith("\n\nThese are 3 of 40.")]

    # The first message may be sent before Alertmanager has read the other alerts.
    [message, *_] = wait_until(messages_about_all, 15, f"a message about all; {bot_api.refused}")
    assert message.text.count("🔴") == 3


def test_nothing_was_refused(bot_api):
    assert bot_api.refused == []
