"""Locust's runner and its workers."""

import os
import socket
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

from locust.env import Environment
from locust.event import Events
from locust.exception import RPCError
from locust.runners import Runner

from loadtests.run import LoadTestError
from loadtests.run.merchants import PacedMerchant

MERCHANTS = Path(__file__).with_name("merchants.py")
LOOPBACK = "127.0.0.1"


def make_environment(options: Namespace) -> Environment:
    return Environment(user_classes=[PacedMerchant], host=options.base_url, events=Events())


def make_runner(environment: Environment, options: Namespace) -> tuple[Runner, list["subprocess.Popen[bytes]"]]:
    """Return the runner, and the workers that it needs on this machine."""
    if options.expect_workers:
        return make_master(environment, options.master_bind_host, options.master_bind_port), []
    if options.processes == 1:
        return environment.create_local_runner(), []
    port = free_port()
    runner = make_master(environment, LOOPBACK, port)
    return runner, [start_worker(port, options.base_url) for _ in range(options.processes)]


def make_master(environment: Environment, host: str, port: int) -> Runner:
    try:
        return environment.create_master_runner(host, port)
    except RPCError as error:
        raise LoadTestError(f"The workers cannot connect to {host}:{port}: {error}.") from None


def start_worker(port: int, url: str) -> "subprocess.Popen[bytes]":
    """Start a worker that obeys its master only: Ctrl-C and settings for other load tests do not reach it."""
    command = [sys.executable, "-m", "locust", "-f", str(MERCHANTS), "--worker", "--host", url, "--loglevel", "ERROR"]
    address = ["--master-host", LOOPBACK, "--master-port", str(port)]
    settings = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
    home = {"HOME": os.devnull}  # Locust also reads ~/.locust.conf
    return subprocess.Popen([*command, *address], env=settings | home, start_new_session=True)


def free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
