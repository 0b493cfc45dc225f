"""Serving until a signal: the same for the simulator and for the fake of a second acquirer."""

import asyncio
import logging
import signal
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from loadtests.gateway.events import EventSender

SHUTDOWN_SECONDS = 0.5  # for answers already being written; a held request is dropped


class Served(Protocol):
    sender: EventSender

    def application(self) -> web.Application: ...


def log(event: str, **fields: Any) -> None:
    logging.getLogger("gateway").info(event, extra=fields)


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
