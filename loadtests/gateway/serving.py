"""Serving until a signal: the same for the simulator and for the fake of a second acquirer."""

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from fintech.telemetry import tracing
from loadtests.gateway.events import EventSender

SHUTDOWN_SECONDS = 0.5  # for answers already being written; a held request is dropped


class Served(Protocol):
    sender: EventSender
    store: Any

    def application(self) -> web.Application: ...


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
        await web.TCPSite(runner, host, port).start()
        log("gateway_listening", host=host, port=runner.addresses[0][1], data=str(data))
        await stop.wait()
    finally:
        sending.cancel()
        await runner.cleanup()
