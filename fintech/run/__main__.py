"""`python -m fintech.run`: run the whole platform on this machine until Ctrl-C."""

import argparse
import errno
import http.client
import os
import socket
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fintech import env
from fintech.env import SettingError
from fintech.run import RunError, checks, environment, interruption, monitoring, programs
from fintech.run.console import Console
from fintech.run.kpis import OPENER, Kpis
from fintech.run.layout import BASE_DIR, DATABASE, Layout, make_environment
from fintech.run.ports import read_ports
from fintech.run.postgres import EmbeddedPostgres, PostgresError
from fintech.run.supervisor import Supervisor, last_line
from fintech.secret_files import read_secret

START_SECONDS = 60


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m fintech.run",
        description="Run the whole platform on this machine until Ctrl-C.",
        epilog="Environment: NO_LOAD=1, LOAD_USERS=5, WEB_CONCURRENCY=3, DATABASE_URL, DATABASE_OWNER_URL;"
        " SECOND_GATEWAY=USD also starts a fake of Stripe, which charges the payments in USD (docs/gateway.md).",
    )
    parser.add_argument("--var", type=Path, default=BASE_DIR / "var", help="data, logs, secrets (default: var)")
    parser.add_argument(
        "--base-port",
        default=os.environ.get("BASE_PORT", ""),
        help="use ten ports from this one on instead of 5000, 5001, 9464, 9465, 9090, 9093, 9100, 9115, 5002, 5003",
    )
    return parser.parse_args()


class Run:
    """One run, from the checks to the last process that stops."""

    def __init__(self, layout: Layout, console: Console) -> None:
        self.layout = layout
        self.console = console
        self.began = time.monotonic()
        external = os.environ.get("DATABASE_URL") or os.environ.get("DATABASE_URL_FILE")
        self.postgres = None if external else EmbeddedPostgres(layout.postgres)
        self.environment: dict[str, str] = {}
        self.with_load = os.environ.get("NO_LOAD", "") in ("", "0")

    def __call__(self) -> None:
        self.layout.make_directories()
        checks.check_disk(self.layout.var, checks.MIN_FREE_TO_START)
        with checks.take_lock(self.layout):
            self._clean_up("An earlier run was killed; stopped its leftovers")
            try:
                self._run()
            finally:
                # Processes that supervisord could not stop, for example because it was killed itself.
                self._clean_up("Stopped")
                self.console.say("Everything has stopped.")

    def _clean_up(self, words: str) -> None:
        for name in checks.stop_leftovers(self.layout, self.postgres):
            self.console.say(f"{words}: {name}.")

    def _run(self) -> None:
        checks.check_numbers()
        self.environment = self._make_environment()
        chosen = self._choose_programs()
        checks.check_ports(self.layout.ports, {program.name for program in chosen})
        supervisor = Supervisor(self.layout, chosen, self.environment)
        try:
            supervisor.start()
            self._start(supervisor, [program.name for program in chosen])
            self._watch(supervisor, monitoring.LoadedCheck(self.layout, {program.name for program in chosen}))
        finally:
            self.console.end_live()
            self.console.say("Stopping: the load first, the database last ...")
            supervisor.stop()

    # --- Preparation ---------------------------------------------------------------------------------------

    def _make_environment(self) -> dict[str, str]:
        database = {}
        if self.postgres is None:
            checks.check_database(env.text("DATABASE_OWNER_URL", env.text("DATABASE_URL")))
        else:
            with self.console.step("Preparing PostgreSQL", "PostgreSQL is prepared"):
                self.postgres.init()
            for directory in self.postgres.opened:
                self.console.say(
                    f"Others may now pass through {directory} (not list it): PostgreSQL does not run as root."
                )
            database = self.postgres.urls(DATABASE)
        return make_environment(self.layout, database, os.environ) | {"API_KEY_FILE": str(self.layout.api_key)}

    @property
    def with_fake_of_stripe(self) -> bool:
        return self.environment.get("STRIPE_URL") == self.layout.url(self.layout.ports.stripe)

    def _choose_programs(self) -> list[programs.Program]:
        chosen = [programs.postgres_program(self.postgres)] if self.postgres else []
        if self.with_fake_of_stripe:
            chosen.append(programs.fake_of_stripe_program(self.layout))
        chosen += programs.service_programs(self.layout)
        watching = monitoring.monitoring_programs(self.layout, self.environment)
        if line := monitoring.missing(self.layout, watching):
            self.console.say(line)
        chosen += watching
        for name, address in monitoring.monitoring_addresses(self.layout, watching).items():
            if f"{name}_FILE" not in self.environment:
                self.environment.setdefault(name, address)
        if self.with_load:
            chosen.append(programs.load_program(self.layout))
        return chosen

    # --- Start ---------------------------------------------------------------------------------------------

    def _start(self, supervisor: Supervisor, names: list[str]) -> None:
        if self.postgres is not None:
            with self.console.step("Starting PostgreSQL", f"PostgreSQL runs on {self.layout.postgres}"):
                supervisor.start_program("postgres")
                self._wait(supervisor, self._database_problem, "postgres")
                self.postgres.ensure_database(DATABASE)
        with self.console.step("Migrating", "The schema is up to date"):
            self._manage(supervisor, "migrate", "--no-input")
        with self.console.step("Creating the first accounts", "Administrator, merchant and API key exist"):
            self._manage(supervisor, "bootstrap", "--out", str(self.layout.secrets))
        with self.console.step("Starting the services", "All services answer"):
            for name in names:
                if name not in ("postgres", "load"):
                    supervisor.start_program(name)
            for name, url in self._places().items():
                self._wait(supervisor, partial(http_problem, url), name)
        self._say_addresses(names)
        if "load" in names:
            supervisor.start_program("load")

    def _places(self) -> dict[str, str]:
        ports, url = self.layout.ports, self.layout.url
        stripe = {"stripe": url(ports.stripe, "/health")} if self.with_fake_of_stripe else {}
        return stripe | {
            "gateway": url(ports.gateway, "/health"),
            "metrics": url(ports.metrics, "/health"),
            "web": url(ports.web, "/ready"),
            "worker": url(ports.worker, "/metrics"),
            "merchant": url(ports.merchant, "/health"),
        }

    def _manage(self, supervisor: Supervisor, *command: str) -> None:
        """Run a management command to its end, with its output in var/log/setup.log."""
        log = self.layout.logs / "setup.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "manage.py", *command],
                cwd=BASE_DIR,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        still_running = f"manage.py {command[0]} is still running"
        try:
            self._wait(supervisor, lambda: still_running if process.poll() is None else None, "setup", seconds=600)
        finally:
            process.kill()
            process.wait()
        if process.returncode != 0:
            raise RunError(f"manage.py {command[0]} failed: {last_line(log)} (all of it is in {log})")

    def _wait(
        self, supervisor: Supervisor, problem: Callable[[], str | None], name: str, seconds: float = START_SECONDS
    ) -> None:
        """Wait until `problem` returns None; a RunError names the last problem and the last line of the log."""
        deadline = time.monotonic() + seconds
        while True:
            interruption.check()
            for news in supervisor.watch():
                self.console.say(news)
            reason = problem()
            if reason is None:
                return
            if time.monotonic() > deadline:
                log = self.layout.logs / f"{name}.log"
                said = last_line(log)
                ending = f" The last line of {log}: {said}" if said else f" {log} is empty."
                raise RunError(f"{name} is not ready after {seconds:.0f} s: {reason}.{ending}")
            time.sleep(0.05)

    def _database_problem(self) -> str | None:
        assert self.postgres is not None
        try:
            self.postgres.wait_until_ready(timeout=0)
        except PostgresError as error:
            return str(error).rstrip(".")
        return None

    def _say_addresses(self, names: list[str]) -> None:
        ports, url = self.layout.ports, self.layout.url
        password = read_secret(self.layout.secrets / "admin_password")
        known = f"user admin, password {password}" if password else "user admin, with the password that you set"
        lines = {
            "API": f"{url(ports.web, '/v1/transactions')}   key in {self.layout.api_key}",
            "Docs": url(ports.web, "/v1/docs"),
            "Admin": f"{url(ports.web, '/admin/')}   {known}",
            "Metrics": f"{url(ports.metrics, '/metrics')}, worker {url(ports.worker, '/metrics')}",
            "Gateway": url(ports.gateway),
            "Stripe (fake)": self._describe_routes() if self.with_fake_of_stripe else None,
            "Webhooks": f"a merchant receives them at {url(ports.merchant)}, see {self.layout.logs / 'merchant.log'}",
            "Prometheus": url(ports.prometheus) if "prometheus" in names else None,
            "Alertmanager": url(ports.alertmanager) if "alertmanager" in names else None,
            "Logs": self.layout.logs,
        }
        self.console.say()
        for name, value in lines.items():
            if value:
                self.console.say(f"  {name:<13} {value}")
        self.console.say()
        self.console.say(f"Ready {time.monotonic() - self.began:.1f} s after the start. Ctrl-C stops everything.")

    def _describe_routes(self) -> str:
        routes = self.environment.get("GATEWAY_ROUTES")
        address = self.layout.url(self.layout.ports.stripe)
        return f"{address}   routes: {routes}" if routes else f"{address}   no new payments, only those of earlier runs"

    # --- And then ------------------------------------------------------------------------------------------

    def _watch(self, supervisor: Supervisor, loaded: monitoring.LoadedCheck) -> None:
        """Watch until the run is stopped, or a process fails permanently."""
        ports = self.layout.ports
        kpis = Kpis(self.layout.url(ports.metrics, "/metrics"), self.layout.url(ports.worker, "/metrics"))
        kpis.refresh()
        before, seen = kpis.succeeded, False
        webhooks, received = kpis.webhooks, False
        while True:
            interruption.check()
            checks.check_disk(self.layout.var, checks.MIN_FREE_TO_CONTINUE)  # while a stop in order has space
            for news in [*supervisor.watch(), *loaded.news()]:
                self.console.say(f"{time.strftime('%H:%M:%S')} {news}")
            kpis.refresh()
            if not seen and kpis.succeeded > before:
                seen = True
                self.console.say(f"First payment succeeded {time.monotonic() - self.began:.1f} s after the start.")
            if not received and kpis.webhooks > webhooks:
                received = True
                self.console.say(f"First webhook delivered {time.monotonic() - self.began:.1f} s after the start.")
            self.console.live(kpis.line())
            time.sleep(1)


def http_problem(url: str) -> str | None:
    """Return why `url` does not answer 200; None if it does."""
    try:
        with OPENER.open(url, timeout=2) as response:
            return None if response.status == 200 else f"{url} answers {response.status}"
    except urllib.error.HTTPError as error:
        return f"{url} answers {error.code}: {error.read(300).decode(errors='replace')}"
    except (OSError, http.client.HTTPException) as error:
        return f"{url} does not answer ({getattr(error, 'reason', error)})"


def main() -> int:
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a log's last line may not fit the locale
    console = Console()
    interruption.install()
    socket.setdefaulttimeout(10)  # supervisord answers at once, or not at all
    environment.drop_unknown()
    options = arguments()
    try:
        Run(Layout(options.var.resolve(), read_ports(options.base_port)), console)()
    except KeyboardInterrupt:
        return 0
    except (RunError, PostgresError, SettingError) as error:
        sys.stderr.write(f"error: {error}\n")
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "the disk is full: free some space" if full else str(error)
        sys.stderr.write(f"error: {advice}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
