"""The merchants of loadtests/locustfile.py, each of whose requests is due at a planned time.

`python -m loadtests.run` runs them in its own process or in workers:

    API_KEY_FILE=var/secrets/api_key locust -f loadtests/run/merchants.py --worker --master-host=HOST
"""

from typing import Any

from locust import events
from locust.env import Environment
from locust.runners import Runner, WorkerRunner

from loadtests import locustfile
from loadtests.run.pacer import Pacer
from loadtests.run.shapes import Plan


class PacedMerchant(locustfile.Merchant):
    """A merchant who waits for the next due request instead of keeping a pace of its own."""

    pacer: Pacer

    def on_start(self) -> None:
        super().on_start()
        self.pacer.take(self)

    def wait_time(self) -> float:
        self.pacer.take(self)
        return 0

    def context(self) -> dict[str, Any]:
        return self.pacer.start_request(self)


def attach(environment: Environment, runner: Runner) -> None:
    """Let this process obey a conductor's messages, and report its requests."""
    pacer = PacedMerchant.pacer = Pacer(runner.send_message)
    environment.events.request.add_listener(pacer.on_request)

    def begin(msg: Any, **_: object) -> None:
        pacer.begin(Plan(**msg.data["plan"]), msg.data["index"], msg.data["count"])

    runner.register_message("plan", begin)
    runner.register_message("halt", lambda **_: pacer.halt())


@events.init.add_listener
def join_the_conductor(environment: Environment, runner: Runner, **_: object) -> None:
    if isinstance(runner, WorkerRunner):
        attach(environment, runner)
