"""Serving until a signal, and all else that the simulator and the fake of a second acquirer share."""

import argparse
import asyncio
import logging
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from fintech.telemetry import tracing
from loadtests.gateway import authentication
from loadtests.gateway.authentication import Authentication
from loadtests.gateway.data_file import DataFile
from loadtests.gateway.events import EventSender
from loadtests.gateway.outcomes import Behaviour, Reply
from loadtests.gateway.profile import Faults, Profile

SHUTDOWN_SECONDS = 0.5  # for answers already being written; a held request is dropped
# Connections that wait for a busy moment to end. A client gives up after a second, and its payment fails.
BACKLOG = 2048


def drop_connection(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()  # aiohttp wants one, finds the connection closed and sends nothing


class Served:
    """A server with a file, a sender of events, and a fault profile that can be changed while it serves."""

    store: DataFile

    def __init__(self, store: DataFile, sender: EventSender) -> None:
        self.sender = sender
        self._default_events_url = sender.url
        self._use(Profile.from_fields(store.load_profile()))

    def application(self) -> web.Application:
        raise NotImplementedError

    def find_challenge(self, identifier: str) -> tuple[Authentication | None, bool]:
        """Return a challenge of a customer, and True if it is open."""
        raise NotImplementedError

    def end_challenge(self, challenge: Authentication, code: str | None) -> object:
        """Settle what waited for the challenge: accepted, or refused with a code."""
        raise NotImplementedError

    async def show_challenge(self, request: web.Request) -> web.Response:
        challenge, is_open = self.find_challenge(request.match_info["id"])
        return authentication.show(challenge, is_open=is_open)

    async def answer_challenge(self, request: web.Request) -> web.Response:
        given = (await request.post()).get("answer")
        challenge, is_open = self.find_challenge(request.match_info["id"])
        if challenge is None or not is_open:
            return authentication.show(challenge, is_open=False)
        return authentication.take_answer(challenge, given, partial(self.end_challenge, challenge))

    async def send(self, response: web.Response, behaviour: Behaviour, request: web.Request) -> web.Response:
        """Return the response in time, late, or never."""
        if behaviour.reply is Reply.LOST:
            return drop_connection(request)
        if behaviour.reply is Reply.LATE:
            await asyncio.sleep(self.faults.profile.hold_seconds)
        return response

    def save_profile(self, changed: dict[str, Any]) -> dict[str, Any]:
        """Use a profile from now on, also after a restart, and return it. Raise WrongProfile."""
        profile = Profile.from_fields(changed)
        fields = profile.to_fields()
        self.store.save_profile(fields)
        self._use(profile)
        log("profile_changed", profile=fields)
        return fields

    def _use(self, profile: Profile) -> None:
        self.faults = Faults(profile)
        self.sender.url = profile.events_url or self._default_events_url


def log(event: str, **fields: Any) -> None:
    logging.getLogger("gateway").info(event, extra=fields)


def arguments(program: str, description: str, *, port: int) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m loadtests.{program}", description=description)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=port, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--data", type=Path, default=Path(f"var/{program}.sqlite3"), help="default: %(default)s")
    return parser.parse_args()


def run(gateway: Served, options: argparse.Namespace, name: str) -> None:
    """Serve until a signal. Exit with a sentence if it cannot listen."""
    try:
        asyncio.run(serve(gateway, options.host, options.port, options.data))
    except (OSError, OverflowError) as error:
        sys.exit(f"error: The {name} cannot listen on {options.host}:{options.port}: {error}.")
    finally:
        gateway.store.close()
        tracing.stop()


async def serve(gateway: Served, host: str, port: int, data: Path) -> None:
    """Serve until SIGTERM or SIGINT. Raise OSError if it cannot listen."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(gateway.application(), access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    sending = asyncio.create_task(gateway.sender.run())
    try:
        await web.TCPSite(runner, host, port, backlog=BACKLOG).start()
        log("gateway_listening", host=host, port=runner.addresses[0][1], data=str(data))
        await stop.wait()
    finally:
        sending.cancel()
        await runner.cleanup()
