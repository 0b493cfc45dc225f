"""Strong customer authentication: the outcomes that an order can have, and the page of a challenge.

Only an order that allows a challenge is authenticated. Its amount chooses the outcome. A challenge leaves the order
undecided until the customer accepts or refuses it, its time is over, or the caller cancels the order. An order that
needs a challenge and does not allow one is declined.
"""

import html
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from aiohttp import web

from loadtests.gateway.orders import Order

# The last three digits of the amount. docs/gateway.md has the same table; a test compares both.
OUTCOMES = {941: "challenged", 942: "frictionless", 943: "exempt"}
REFUSED = "authentication_failed"
EXPIRED = "authentication_expired"
REQUIRED = "authentication_required"  # it needs a challenge, and does not allow one
PATH = "/3ds/{id}"

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>3-D Secure</title><link rel="icon" href="data:,">
<style>body {{ font: 1rem sans-serif; max-width: 30rem; margin: 3rem auto }} button {{ padding: .5rem 1rem }}</style>
<h1>3-D Secure</h1>
{content}
</html>"""
_FORM = """<p>Do you confirm this payment of {amount} {currency}, in minor units?</p>
<form method="post">
<button name="answer" value="accept">Accept</button>
<button name="answer" value="refuse">Refuse</button>
<button name="answer" value="abandon">Abandon</button>
</form>"""


class Authentication(NamedTuple):
    """A row of `authentication`: the outcome that the gateway chose for an order. A challenge's URL contains its id."""

    kind: str
    key: str
    outcome: str
    amount: int
    currency: str
    return_url: str
    id: str
    expires_at: float

    @property
    def is_over(self) -> bool:
        return time.time() >= self.expires_at

    @property
    def is_challenge(self) -> bool:
        return self.outcome == "challenged"

    def describe(self, *, outcome: str, code: str | None) -> dict[str, str]:
        """Return the result beside the gateway's decision: the issuer bears the loss of what it authenticated."""
        result = self.outcome
        if self.is_challenge:
            result = {None: "authenticated", REFUSED: "failed", EXPIRED: "abandoned"}.get(code, "authenticated")
        shifted = outcome == "approved" and result in ("authenticated", "frictionless")
        return {"outcome": result, "liability_shift": "issuer" if shifted else "merchant"}


def is_refused(order: Order) -> bool:
    """Return True for an order that needs a challenge and does not allow one."""
    return order.return_url is None and OUTCOMES.get(order.amount % 1000) == "challenged"


def describe_challenge(challenge: Authentication, origin: str) -> dict[str, Any]:
    """Return the answer to an order that waits for its customer."""
    expires_at = datetime.fromtimestamp(challenge.expires_at, UTC).isoformat(timespec="milliseconds")
    return {
        "key": challenge.key,
        "outcome": "requires_action",
        "amount": challenge.amount,
        "currency": challenge.currency,
        "challenge": {"url": origin + PATH.format(id=challenge.id), "expires_at": expires_at.replace("+00:00", "Z")},
    }


def show(challenge: Authentication | None, *, is_open: bool) -> web.Response:
    if challenge is None:
        return _page(404, "<p>There is no such challenge.</p>")
    if not is_open:
        return _page(410, "<p>This challenge has ended.</p>")
    return _page(200, _FORM.format(amount=challenge.amount, currency=html.escape(challenge.currency)))


def take_answer(challenge: Authentication, answer: object, decide: Callable[[str | None], object]) -> web.Response:
    """Carry out the customer's answer, and send the customer back. An abandoned challenge stays open."""
    if answer not in ("accept", "refuse", "abandon"):
        return _page(400, "<p>Answer with accept, refuse or abandon.</p>")
    if answer != "abandon":
        decide(None if answer == "accept" else REFUSED)
    return web.Response(status=303, headers={**_HEADERS, "Location": challenge.return_url})


def _page(status: int, content: str) -> web.Response:
    return web.Response(status=status, text=_PAGE.format(content=content), content_type="text/html", headers=_HEADERS)
