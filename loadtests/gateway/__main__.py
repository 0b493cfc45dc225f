"""Start the gateway simulator: one JSON line when it listens, then one for each change of the profile."""

import argparse
import asyncio
import sys
from pathlib import Path

from fintech.env import SettingError, text, url, webhook_secret
from fintech.telemetry import tracing
from fintech.telemetry.logging import write_json_lines
from loadtests.gateway.app import Gateway
from loadtests.gateway.events import EventSender
from loadtests.gateway.profile import WrongProfile
from loadtests.gateway.serving import log, serve
from loadtests.gateway.store import Store, StoreError


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.gateway", description="The gateway simulator.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=5001, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--data", type=Path, default=Path("var/gateway.sqlite3"), help="default: %(default)s")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    write_json_lines()
    try:
        tokens = {"token": text("GATEWAY_TOKEN"), "control_token": text("GATEWAY_CONTROL_TOKEN")}
        events = {"url": url("GATEWAY_EVENTS_URL", ""), "secret": webhook_secret("GATEWAY_WEBHOOK_SECRET")}
        if events["url"] and not events["secret"]:
            raise SettingError("GATEWAY_WEBHOOK_SECRET is not set: events to GATEWAY_EVENTS_URL are signed with it.")
        store = Store(options.data)
        gateway = Gateway(
            store, **tokens, log=log, sender=EventSender(store, url=events["url"], secret=events["secret"])
        )
        tracing.start("gateway")
    except (SettingError, StoreError, WrongProfile) as error:
        sys.exit(f"error: {error}")
    try:
        asyncio.run(serve(gateway, options.host, options.port, options.data))
    except (OSError, OverflowError) as error:
        sys.exit(f"error: The gateway cannot listen on {options.host}:{options.port}: {error}.")
    finally:
        store.close()
        tracing.stop()


if __name__ == "__main__":
    main()
