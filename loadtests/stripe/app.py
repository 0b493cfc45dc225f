"""The fake's HTTP interface: idempotency keys, faults and lists around the objects."""

import asyncio
import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlencode

import orjson
from aiohttp import web

from loadtests.gateway import authentication
from loadtests.gateway.app import MAX_BODY_BYTES, traced
from loadtests.gateway.authentication import Authentication
from loadtests.gateway.events import EventSender
from loadtests.gateway.outcomes import APPROVE, Behaviour, Does
from loadtests.gateway.profile import WrongProfile
from loadtests.gateway.serving import Served, drop_connection
from loadtests.stripe.disputes import Disputes
from loadtests.stripe.objects import BadRequest, Form, Objects, Result, error
from loadtests.stripe.store import Store

Handler = Callable[[web.Request], Awaitable[web.Response]]
SEARCH = re.compile(r"metadata\['key'\]:'([^']*)'")
PAGE_SIZE = 10


def sign(secret: str, identifier: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers of an event: https://docs.stripe.com/webhooks#verify-manually."""
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return {"Stripe-Signature": f"t={timestamp},v1={digest}", "Content-Type": "application/json"}


def respond(status: int, body: bytes | dict[str, Any], *, replayed: bool = False) -> web.Response:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    headers = {"Idempotent-Replayed": "true"} if replayed else None
    return web.Response(body=content, status=status, headers=headers, content_type="application/json")


class FakeStripe(Served):
    store: Store

    def __init__(self, store: Store, *, api_key: str, control_token: str, sender: EventSender) -> None:
        super().__init__(store, sender)
        self.store, self.objects = store, Objects(store)
        self.disputes = Disputes(store, self.objects)
        self.search_lags = False
        self._api_key, self._control_token = api_key, control_token

    def application(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        add = app.router.add_route
        for path in ("", "/{id}/capture", "/{id}/cancel"):
            add("POST", f"/v1/payment_intents{path}", self._guarded(self.post))
        add("POST", "/v1/refunds", self._guarded(self.post))
        add("GET", "/v1/payment_intents/search", self._guarded(self.search))
        add("GET", "/v1/payment_intents/{id}", self._guarded(partial(self.show, "payment_intent")))
        add("GET", "/v1/payment_intents", self._guarded(partial(self.list, "payment_intent")))
        add("GET", "/v1/refunds", self._guarded(partial(self.list, "refund")))
        for path in ("", "/close"):
            add("POST", f"/v1/disputes/{{id}}{path}", self._guarded(self.post))
        add("GET", "/v1/disputes/{id}", self._guarded(partial(self.show, "dispute")))
        add("GET", "/v1/disputes", self._guarded(partial(self.list, "dispute")))
        add("POST", "/control/disputes", self._guarded(self.open_dispute, control=True))
        add("POST", "/control/disputes/{id}", self._guarded(self.decide_dispute, control=True))
        add("GET", authentication.PATH, traced(self.show_challenge))
        add("POST", authentication.PATH, traced(self.answer_challenge))
        add("PATCH", "/control/profile", self._guarded(self.change_profile, control=True))
        add("PUT", "/control/search", self._guarded(self.change_search, control=True))
        add("POST", "/control/forget", self._guarded(self.forget_keys, control=True))
        add("GET", "/control/events", self._guarded(self.list_events, control=True))
        add("GET", "/health", self.health)
        return app

    def _guarded(self, handler: Handler, *, control: bool = False) -> Handler:
        expected = f"Bearer {self._control_token if control else self._api_key}".encode()

        async def respond_or_refuse(request: web.Request) -> web.Response:
            given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
            if not hmac.compare_digest(given, expected):
                return respond(401, error("invalid_request_error", "Invalid API key provided"))
            try:
                return await handler(request)
            except BadRequest as reason:
                return respond(reason.status, error("invalid_request_error", str(reason), param=reason.param))

        return traced(respond_or_refuse)

    # --- Requests that change something -----------------------------------------------------------------------

    async def post(self, request: web.Request) -> web.Response:
        """Wait as a slow network does, execute once for a key, and send the answer as the faults want it."""
        form = dict(parse_qsl((await request.read()).decode(), keep_blank_values=True))
        key = request.headers.get("Idempotency-Key", "")
        if (known := self._known(key, request, form)) is not None:
            return known
        if "metadata[fence]" in form and self.faults.profile.cancel_fails:
            return respond(500, error("api_error", "Something went wrong on Stripe's end."))
        behaviour = self._behaviour(request, form, key)
        await asyncio.sleep(self.faults.seconds_before(behaviour))
        if behaviour.does is Does.NOTHING:
            return drop_connection(request)
        if behaviour.does is Does.UNAVAILABLE:
            return respond(429, error("invalid_request_error", "Too many requests", code="rate_limit"))
        if (known := self._known(key, request, form)) is not None:
            return known
        return await self.send(respond(*self._execute(request, form, key, behaviour)), behaviour, request)

    def _known(self, key: str, request: web.Request, form: Form) -> web.Response | None:
        """Return the saved result of this key, or an error if it was used for another request."""
        found = self.store.find_result(key)
        if found is None:
            return None
        wanted, status, body = found
        if wanted != _describe(request, form):
            message = "Keys for idempotent requests can only be used with the same parameters."
            return respond(400, error("idempotency_error", message))
        return respond(status, body, replayed=True)

    def _behaviour(self, request: web.Request, form: Form, key: str) -> Behaviour:
        if "metadata[fence]" in form:
            return APPROVE
        behaviour = self.faults.behaviour(self._amount(request, form))
        if behaviour.once and not self.store.first_attempt(key):
            return APPROVE
        return behaviour

    def _amount(self, request: web.Request, form: Form) -> int:
        text = form.get("amount") or form.get("amount_to_capture", "")
        if text.isascii() and text.isdigit():
            return int(text)
        intent = self.store.find(request.match_info.get("id", ""))
        return intent.get("amount_capturable", 0) if intent else 0

    def _execute(self, request: web.Request, form: Form, key: str, behaviour: Behaviour) -> Result:
        self.store.begin()
        try:
            status, body = self._change(request, form, behaviour)
            if status == 200:
                body = self.objects.expand(body, [form["expand[]"]] if "expand[]" in form else [])
            if key:
                self.store.save_result(key, _describe(request, form), status, orjson.dumps(body))
        finally:
            self.store.commit()  # a request that is refused has stored nothing
        return status, body

    def _change(self, request: web.Request, form: Form, behaviour: Behaviour) -> Result:
        name = request.match_info.get("id")
        if name is None:
            page = str(request.url.origin()) + authentication.PATH.removesuffix("/{id}")
            is_refund = request.path == "/v1/refunds"
            return self.objects.refund(form) if is_refund else self.objects.create(form, behaviour, page)
        if request.path.startswith("/v1/disputes/"):
            closes = request.path.endswith("/close")
            return self.disputes.close(name) if closes else self.disputes.respond(name, form)
        intent = self.objects.find(name, "payment_intent")
        captures = request.path.endswith("/capture")
        return self.objects.capture(intent, form) if captures else self.objects.cancel(intent)

    # --- Lookups ----------------------------------------------------------------------------------------------

    async def show(self, kind: str, request: web.Request) -> web.Response:
        return self._looked_up(request, self.objects.find(request.match_info["id"], kind))

    async def search(self, request: web.Request) -> web.Response:
        found = SEARCH.fullmatch(request.query.get("query", ""))
        if found is None:
            raise BadRequest("Invalid query", param="query")
        intents = [] if self.search_lags else self.store.newest("payment_intent")
        data = [intent for intent in intents if intent["metadata"].get("key") == found[1]]
        return self._looked_up(request, {"object": "search_result", "data": data, "has_more": False, "next_page": None})

    async def list(self, kind: str, request: web.Request) -> web.Response:
        limit = int(request.query.get("limit", PAGE_SIZE))
        items = self.store.newest(kind, before=request.query.get("starting_after"), limit=limit + 1)
        if intent := request.query.get("payment_intent"):
            items = self.objects.refunds_of(intent) if kind == "refund" else self.objects.disputes_of(intent)
        return self._looked_up(request, {"object": "list", "data": items[:limit], "has_more": len(items) > limit})

    def _looked_up(self, request: web.Request, body: dict[str, Any]) -> web.Response:
        if self.faults.profile.cancel_fails:
            return respond(500, error("api_error", "Something went wrong on Stripe's end."))
        return respond(200, self.objects.expand(body, request.query.getall("expand[]", [])))

    # --- The page of a challenge ------------------------------------------------------------------------------

    def find_challenge(self, identifier: str) -> tuple[Authentication | None, bool]:
        intent = self.store.find(identifier)
        if intent is None or intent["object"] != "payment_intent":
            return None, False
        return _challenge_of(intent), intent["status"] == "requires_action"

    def end_challenge(self, challenge: Authentication, code: str | None) -> None:
        self.store.begin()
        try:
            intent = self.objects.find(challenge.id, "payment_intent")
            self.objects.end_challenge(intent, accepted=code is None)
        finally:
            self.store.commit()

    # --- Control ----------------------------------------------------------------------------------------------

    async def change_profile(self, request: web.Request) -> web.Response:
        try:
            changes = orjson.loads(await request.read())
            return respond(200, self.save_profile(self.faults.profile.to_fields() | changes))
        except (WrongProfile, orjson.JSONDecodeError) as reason:
            return respond(422, {"code": "invalid_profile", "message": str(reason)})

    async def open_dispute(self, request: web.Request) -> web.Response:
        return respond(201, self.disputes.open(orjson.loads(await request.read())))

    async def decide_dispute(self, request: web.Request) -> web.Response:
        return respond(200, self.disputes.decide(request.match_info["id"], orjson.loads(await request.read())))

    async def change_search(self, request: web.Request) -> web.Response:
        """Let the search lag behind, as Stripe's does: it finds nothing until this setting ends."""
        self.search_lags = bool(orjson.loads(await request.read())["lags"])
        return respond(200, {"lags": self.search_lags})

    async def forget_keys(self, request: web.Request) -> web.Response:
        """Forget all idempotency keys, as Stripe does after a day."""
        self.store.forget_results()
        return respond(200, {})

    async def list_events(self, request: web.Request) -> web.Response:
        """Return the events after the one with this number, in order."""
        return respond(200, {"events": self.store.events_after(int(request.query.get("after", 0)))})

    async def health(self, request: web.Request) -> web.Response:
        return respond(200, {"status": "ok"})


def _describe(request: web.Request, form: Form) -> str:
    return f"{request.path} {sorted(form.items())}"


def _challenge_of(intent: dict[str, Any]) -> Authentication:
    """Return the challenge of a PaymentIntent. Stripe adds its names to the address that the customer returns to."""
    redirect = (intent["next_action"] or {}).get("redirect_to_url", {"return_url": ""})
    named = {"payment_intent": intent["id"], "payment_intent_client_secret": intent["client_secret"]}
    back = f"{redirect['return_url']}{'&' if '?' in redirect['return_url'] else '?'}{urlencode(named)}"
    money = intent["amount"], intent["currency"].upper()
    return Authentication("payment_intent", intent["id"], "challenged", *money, back, intent["id"], float("inf"))
