"""Start the gateway simulator: one JSON line when it listens, then one for each change of the profile."""

import sys

from fintech.env import SettingError, text, url, webhook_secret
from fintech.telemetry import tracing
from fintech.telemetry.logging import write_json_lines
from loadtests.gateway.app import Gateway
from loadtests.gateway.events import EventSender
from loadtests.gateway.profile import WrongProfile
from loadtests.gateway.serving import arguments, run
from loadtests.gateway.store import Store, StoreError


def main() -> None:
    options = arguments("gateway", "The gateway simulator.", port=5001)
    write_json_lines()
    try:
        tokens = {"token": text("GATEWAY_TOKEN"), "control_token": text("GATEWAY_CONTROL_TOKEN")}
        events = {"url": url("GATEWAY_EVENTS_URL", ""), "secret": webhook_secret("GATEWAY_WEBHOOK_SECRET")}
        if events["url"] and not events["secret"]:
            raise SettingError("GATEWAY_WEBHOOK_SECRET is not set: events to GATEWAY_EVENTS_URL are signed with it.")
        store = Store(options.data)
        sender = EventSender(store, url=events["url"], secret=events["secret"])
        gateway = Gateway(store, **tokens, sender=sender)
        tracing.start("gateway")
    except (SettingError, StoreError, WrongProfile) as error:
        sys.exit(f"error: {error}")
    run(gateway, options, "gateway")


if __name__ == "__main__":
    main()
