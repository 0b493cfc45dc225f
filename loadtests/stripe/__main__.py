"""Start the fake of Stripe: one JSON line when it listens, then one for each change of the profile."""

import sqlite3
import sys

from fintech.env import SettingError, text, url
from fintech.telemetry import tracing
from fintech.telemetry.logging import write_json_lines
from loadtests.gateway.events import EventSender
from loadtests.gateway.serving import arguments, run
from loadtests.stripe.app import FakeStripe, sign
from loadtests.stripe.store import Store


def main() -> None:
    options = arguments("stripe", "A local fake of Stripe.", port=5003)
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
    fake = FakeStripe(store, **tokens, sender=EventSender(store, **events, signing=sign))
    run(fake, options, "fake")


if __name__ == "__main__":
    main()
