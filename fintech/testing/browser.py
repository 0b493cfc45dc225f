"""A real browser on the real platform, with everything that it reports. The fixture is `browser`.

With SCREENSHOTS=docs/images it updates the pictures of the documentation.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connections
from playwright.sync_api import Page, sync_playwright

from fintech.testing.processes import Platform

# The shell is Chromium without windows, and the whole test needs a fifth less processor time with it.
CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")
FLAGS = [
    "--headless",
    "--font-render-hinting=none",  # the shell's hinted letters are wider than those in a window
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SCREENSHOTS = os.environ.get("SCREENSHOTS")
WIDTH, HEIGHT = 1400, 900

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="not installed: chromium-headless-shell")


class Browser:
    """One page, and every error that the browser reports."""

    def __init__(self, page: Page, platform: Platform) -> None:
        self.page, self.url = page, platform.url
        self.complaints: list[str] = []
        page.on("console", lambda message: self._note(message.type, message.text, message.type in ("error", "warning")))
        page.on("pageerror", lambda error: self._note("exception", str(error)))
        # A second click aborts the first one's request, which is normal.
        page.on("requestfailed", lambda failed: self._note("failed", failed.url, failed.failure != "net::ERR_ABORTED"))
        page.on("response", lambda reply: self._note(str(reply.status), reply.url, reply.status >= 400))

    def _note(self, kind: str, text: str, wrong: bool = True) -> None:
        if wrong:
            self.complaints.append(f"{kind}: {text} on {self.page.url}")

    def open(self, path: str) -> None:
        self.page.goto(self.url + path)

    def follow(self, selector: str) -> None:
        """Click a link to another page."""
        with self.page.expect_navigation():
            self.page.click(selector)

    def sign_in(self, name: str) -> None:
        """Sign in as a new superuser; the pictures show the name."""
        password = secrets.token_urlsafe(16)
        user = User.objects.create_superuser(name if SCREENSHOTS else f"u{secrets.token_hex(6)}", password=password)
        self.open("/admin/")
        self.page.fill("#id_username", user.username)
        self.page.fill("#id_password", password)
        self.follow("button[type=submit]")

    def picture(self, name: str, *, height: int = HEIGHT) -> None:
        """Take a picture at this window height; 0: the height of the page, because a sticky bar would cover a part of
        it.
        """
        if not SCREENSHOTS:
            return
        height = height or self.page.evaluate("document.documentElement.scrollHeight")
        self.page.set_viewport_size({"width": WIDTH, "height": height})
        self.page.mouse.move(0, 0)
        self.page.screenshot(path=Path(SCREENSHOTS, name), animations="disabled")
        self.page.set_viewport_size({"width": WIDTH, "height": HEIGHT})


@pytest.fixture
def browser(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Iterator[Browser]:
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # Playwright has an event loop in this thread
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_default_timeout(60_000)  # the machine may be busy
        yield Browser(page, platform)
        chromium.close()
        connections.close_all()  # those of Playwright's context, which ends here
