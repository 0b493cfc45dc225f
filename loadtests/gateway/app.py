"""The gateway's HTTP interface. docs/gateway.md lists every path and answer."""

import asyncio
import hmac
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import orjson
from aiohttp import web

from fintech.http.headers import find_repeated
from fintech.telemetry import tracing
from loadtests.gateway import authentication
from loadtests.gateway.authentication import Authentication
from loadtests.gateway.decisions import Decisions
from loadtests.gateway.disputes import Disputes, describe_dispute
from loadtests.gateway.events import EventSender
from loadtests.gateway.orders import BadOrder, Order, check_key, read_object, read_order
from loadtests.gateway.outcomes import APPROVE, HOLD, Behaviour, Does, Reply
from loadtests.gateway.profile import WrongProfile
from loadtests.gateway.serving import Served, drop_connection
from loadtests.gateway.store import Decision, Store

MAX_BODY_BYTES = 64 * 1024
MAX_PAGE_SIZE = 1000
MAX_SEQ = 2**63 - 1

Handler = Callable[[web.Request], Awaitable[web.Response]]


def answer(status: int, body: dict[str, Any], *, replayed: bool = False) -> web.Response:
    headers = {"Idempotency-Replayed": "true"} if replayed else None
    return web.Response(body=orjson.dumps(body), status=status, headers=headers, content_type="application/json")


def problem(status: int, outcome: str, code: str, **more: Any) -> web.Response:
    return answer(status, {"outcome": outcome, "code": code} | more)


def not_charged(status: int, outcome: str, code: str, **more: Any) -> web.Response:
    """Return an answer that promises: neither this order nor one with its key in flight moves money."""
    return problem(status, outcome, code, charged=False, **more)


def key_reused() -> web.Response:
    return not_charged(422, "error", "key_reused", message="This key was used with another order.")


def traced(handler: Handler) -> Handler:
    """Continue the caller's trace, and return it in the answer."""

    async def answer_in_trace(request: web.Request) -> web.Response:
        trace = tracing.begin(request.headers.get("traceparent"))
        response = await handler(request)
        dropped = request.transport is None or request.transport.is_closing()
        route = request.match_info.route.resource
        attributes: tracing.Attributes = {
            "http.request.method": request.method,
            "http.route": route.canonical if route else "unknown",
            "http.response.status_code": response.status,
        }
        name = f"{request.method} {attributes['http.route']}"
        tracing.finish(trace, name, attributes, failed=dropped or response.status >= 500)
        if trace is not None:
            response.headers["traceresponse"] = trace.traceresponse
        return response

    return answer_in_trace


class Gateway(Served):
    store: Store

    def __init__(self, store: Store, *, token: str, control_token: str, sender: EventSender) -> None:
        super().__init__(store, sender)
        self.store = store
        self.disputes = Disputes(store)
        self._bearer = f"Bearer {token}".encode()
        self._control_bearer = f"Bearer {control_token}".encode()
        self._decisions = Decisions(store, lambda: self.faults.profile)
        self._undecided: dict[tuple[str, str], set[asyncio.Future[None]]] = {}

    def application(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        for kind in ("charge", "authorization", "capture", "void", "refund"):
            path = f"/v1/{kind}s"
            app.router.add_post(path, self._guarded(partial(self.place, kind)))
            app.router.add_get(path + "/{key}", self._guarded(partial(self.look_up, kind)))
            app.router.add_post(path + "/{key}/cancel", self._guarded(partial(self.cancel, kind)))
        app.router.add_get("/v1/totals", self._guarded(self.totals))
        app.router.add_get("/v1/records", self._guarded(self.records))
        app.router.add_route("GET", "/control/profile", self._guarded(self.show_profile, control=True))
        for method in ("PUT", "PATCH"):
            app.router.add_route(method, "/control/profile", self._guarded(self.replace_profile, control=True))
        app.router.add_post("/control/disputes", self._guarded(self.open_dispute, control=True))
        app.router.add_post("/control/disputes/{id}", self._guarded(self.decide_dispute, control=True))
        app.router.add_get("/v1/disputes/{id}", self._guarded(self.show_dispute))
        app.router.add_post("/v1/disputes/{id}/evidence", self._guarded(partial(self.respond, accepts=False)))
        app.router.add_post("/v1/disputes/{id}/accept", self._guarded(partial(self.respond, accepts=True)))
        app.router.add_get("/health", self.health)
        app.router.add_get(authentication.PATH, traced(self.show_challenge))
        app.router.add_post(authentication.PATH, traced(self.answer_challenge))
        return app

    def _guarded(self, handler: Handler, *, control: bool = False) -> Handler:
        """Require the token, and turn internal errors into an answer."""
        expected = self._control_bearer if control else self._bearer

        async def answer_or_refuse(request: web.Request) -> web.Response:
            if name := find_repeated(request.headers.items()):
                return not_charged(400, "error", "repeated_header", message=f"Send the header {name} once.")
            given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
            if not hmac.compare_digest(given, expected):
                return problem(401, "error", "unauthorized")
            try:
                return await handler(request)
            except BadOrder as error:
                return not_charged(error.status, "error", error.code, message=str(error))
            except web.HTTPRequestEntityTooLarge:
                return not_charged(413, "error", "too_large", message=f"The body is above {MAX_BODY_BYTES} bytes.")
            except sqlite3.Error:
                # No promise: the previous decision for this key cannot be read.
                return problem(503, "unavailable", "storage_unavailable")

        return traced(answer_or_refuse)

    # Operations

    async def place(self, kind: str, request: web.Request) -> web.Response:
        order = read_order(kind, request.headers.get("Idempotency-Key"), await request.read())
        known = self._decisions.find(kind, order.key)
        if known:
            return self._replay(known, order, request)
        if kind == "void":
            order = self._decisions.complete_void(order)
        behaviour = self.faults.behaviour(order.amount)
        if behaviour.once and not self.store.first_attempt(kind, order.key):
            behaviour = APPROVE
        seconds = self.faults.seconds_before(behaviour)
        if behaviour.decides:
            return await self._decide(request, order, behaviour, seconds)
        await asyncio.sleep(seconds)
        if behaviour.does is Does.NOTHING:
            return drop_connection(request)
        return await self._refuse(request, order, behaviour)

    async def _decide(self, request: web.Request, order: Order, behaviour: Behaviour, seconds: float) -> web.Response:
        with self._may_still_charge(order):
            if seconds:
                await asyncio.sleep(seconds)
                if known := self._decisions.find(order.kind, order.key):
                    return self._replay(known, order, request)
            challenge = self._decisions.authenticate(order) if behaviour.does is Does.APPROVE else None
            if challenge is None:
                decision, first = self._decisions.decide(order, behaviour)
        if challenge is not None:
            return await self.send(self._ask_customer(challenge, request), behaviour, request)
        if not first:
            return self._replay(decision, order, request)
        if self.faults.profile.late_events and (behaviour.reply is not Reply.SENT or behaviour.wait == HOLD):
            self._decisions.announce(decision)
        return await self.send(answer(200, self._decisions.describe(decision)), behaviour, request)

    async def _refuse(self, request: web.Request, order: Order, behaviour: Behaviour) -> web.Response:
        """Refuse an order. "Not charged" is a promise, so wait for attempts with the same key that may still charge."""
        while others := self._undecided.get((order.kind, order.key)):
            await asyncio.wait(others)
        known = self._decisions.find(order.kind, order.key)
        if known:
            return self._replay(known, order, request)
        assert behaviour.code is not None
        return not_charged(502 if behaviour.does is Does.ERROR else 503, behaviour.does.value, behaviour.code)

    @contextmanager
    def _may_still_charge(self, order: Order) -> Iterator[None]:
        name = (order.kind, order.key)
        done = asyncio.get_running_loop().create_future()
        self._undecided.setdefault(name, set()).add(done)
        try:
            yield
        finally:
            done.set_result(None)
            self._undecided[name].discard(done)
            if not self._undecided[name]:
                del self._undecided[name]

    def _replay(self, known: Decision | Authentication, order: Order, request: web.Request) -> web.Response:
        if isinstance(known, Authentication):
            if (known.amount, known.currency) != (order.amount, order.currency):
                return key_reused()
            return self._ask_customer(known, request, replayed=True)
        if known.outcome == "cancelled":
            return answer(409, self._decisions.describe(known))
        final = None if order.final is None else int(order.final)
        same = (known.charge, known.final) == (order.charge, final)
        if order.kind != "void":  # its amount is what was left
            same = same and (known.amount, known.currency) == (order.amount, order.currency)
        if not same:
            return key_reused()
        return answer(200, self._decisions.describe(known), replayed=True)

    # Strong customer authentication

    def _ask_customer(self, challenge: Authentication, request: web.Request, *, replayed: bool = False) -> web.Response:
        body = authentication.describe_challenge(challenge, str(request.url.origin()))
        return answer(200, body, replayed=replayed)

    def find_challenge(self, identifier: str) -> tuple[Authentication | None, bool]:
        challenge = self.store.find_challenge(identifier)
        return challenge, challenge is not None and self._decisions.is_open(challenge)

    def end_challenge(self, challenge: Authentication, code: str | None) -> Decision:
        return self._decisions.end_challenge(challenge, code)

    # By key

    async def look_up(self, kind: str, request: web.Request) -> web.Response:
        if self.faults.profile.cancel_fails:
            return problem(503, "unavailable", "lookup_unavailable")
        key = check_key(request.match_info["key"])
        known = self._decisions.find(kind, key)
        if isinstance(known, Authentication):
            return self._ask_customer(known, request)
        return answer(200, self._decisions.describe(known)) if known else answer(404, {"outcome": "not_found"})

    async def cancel(self, kind: str, request: web.Request) -> web.Response:
        """Leave a tombstone, also for an unknown key: a charge in flight will not be made."""
        if self.faults.profile.cancel_fails:
            return problem(503, "unavailable", "cancel_unavailable")
        key = check_key(request.match_info["key"])
        self._decisions.find(kind, key)  # ends a challenge whose time is over
        decision, _ = self.store.decide(Decision(kind, key, "cancelled"))
        outcome = {"approved": "already_charged", "declined": "already_declined", "cancelled": "cancelled"}
        return answer(200, self._decisions.describe(decision) | {"outcome": outcome[decision.outcome]})

    # The record of what moved

    async def totals(self, request: web.Request) -> web.Response:
        return answer(200, {"currencies": self.store.totals()})

    async def records(self, request: web.Request) -> web.Response:
        after = self._whole_number(request, "after", 0, 0, MAX_SEQ)
        limit = self._whole_number(request, "limit", MAX_PAGE_SIZE, 1, MAX_PAGE_SIZE)
        rows = list(self.store.records(after, limit + 1))
        page = rows[:limit]
        return answer(200, {"records": page, "next": page[-1]["seq"] if len(rows) > limit else None})

    @staticmethod
    def _whole_number(request: web.Request, name: str, default: int, least: int, most: int) -> int:
        text = request.query.get(name, str(default))
        if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
            raise BadOrder(422, "invalid_request", f"{name} must be a whole number from {least} to {most}.")
        return int(text)

    # Disputes

    async def open_dispute(self, request: web.Request) -> web.Response:
        return answer(201, describe_dispute(self.disputes.open(read_object(await request.read()))))

    async def decide_dispute(self, request: web.Request) -> web.Response:
        content = read_object(await request.read())
        return answer(200, describe_dispute(self.disputes.decide(request.match_info["id"], content)))

    async def show_dispute(self, request: web.Request) -> web.Response:
        return answer(200, describe_dispute(self.disputes.find(request.match_info["id"])))

    async def respond(self, request: web.Request, *, accepts: bool) -> web.Response:
        key = check_key(request.headers.get("Idempotency-Key"))
        read_object(await request.read())
        if self.disputes.respond(request.match_info["id"], key, accepts=accepts):
            return answer(200, {"outcome": "approved", "reference": f"rsp_{key}"})
        return answer(200, {"outcome": "declined", "code": "not_awaiting_response"})

    # Control

    async def show_profile(self, request: web.Request) -> web.Response:
        return answer(200, self.faults.profile.to_fields())

    async def replace_profile(self, request: web.Request) -> web.Response:
        """Replace the profile: PUT starts from the defaults, PATCH from the current profile."""
        changes = read_object(await request.read())
        kept = self.faults.profile.to_fields() if request.method == "PATCH" else {}
        try:
            return answer(200, self.save_profile(kept | changes))
        except WrongProfile as error:
            raise BadOrder(422, "invalid_profile", str(error)) from None

    async def health(self, request: web.Request) -> web.Response:
        return answer(200, {"status": "ok"})
