"""Start the fake of Stripe: one JSON line when it listens, then one for each change of the profile."""

import argparse
import asyncio
import sqlite3
import sys
from pathlib import Path

from fintech.env import SettingError, text, url
from fintech.telemetry import tracing
from fintech.telemetry.logging import write_json_lines
from loadtests.gateway.events import EventSender
from loadtests.gateway.serving import log, serve
from loadtests.stripe.app import FakeStripe, sign
from loadtests.stripe.store import Store


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.stripe", description="A local fake of Stripe.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=5003, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--data", type=Path, default=Path("var/stripe.sqlite3"), help="default: %(default)s")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    write_json_lines()
    try:
        tokens = {"api_key": text("STRIPE_API_KEY"), "control_token": text("GATEWAY_CONTROL_TOKEN")}
        events = {"url": url("STRIPE_EVENTS_URL", ""), "secret": text("STRIPE_WEBHOOK_SECRET", "")}
        if events["url"] and not events["secret"]:
            raise SettingError("STRIPE_WEBHOOK_SECRET is not set: events to STRIPE_EVENTS_URL are signed with it.")
        store = Store(options.data)
    except (SettingError, OSError, sqlite3.Error) as error:
        sys.exit(f"error: {error}")
    tracing.start("stripe")
    fake = FakeStripe(store, **tokens, log=log, sender=EventSender(store, **events, signing=sign))
    try:
        asyncio.run(serve(fake, options.host, options.port, options.data))
    except (OSError, OverflowError) as error:
        sys.exit(f"error: The fake cannot listen on {options.host}:{options.port}: {error}.")
    finally:
        store.close()
        tracing.stop()


if __name__ == "__main__":
    main()
