"""Measure pages of the admin and lists of the API while 64 clients pay, in comparison with their quiet time."""

import http.client
import statistics
import time
from concurrent.futures import ProcessPoolExecutor

from fintech.testing.processes import wait_until
from loadtests.bench.alerts import Connection, body
from loadtests.bench.client import payment_requests, run_load
from loadtests.bench.servers import World

SERVER = "ours-null"
CLIENTS, ROUNDS, PAUSE_SECONDS = 64, 15, 0.1
MOST = 2.0  # times the quiet time


def pay(port: int, api_key: str, seconds: float) -> float:
    """Pay without pauses; return payments per second. Runs in a process of its own."""
    requests = payment_requests("/v1/transactions", {"Authorization": f"Bearer {api_key}"})
    return run_load(port, requests, clients=CLIENTS, seconds=seconds).rate


def report_pages(world: World) -> bool:
    """Print each page's median time, quiet and under load; True if none takes more than twice its quiet time."""
    port = world.ports[SERVER]
    pay(port, world.api_key, seconds=1)  # rows for the pages, also if no contender has made any
    pages = find_pages(world)
    quiet = measure(port, pages)
    with ProcessPoolExecutor(1) as processes:
        load = processes.submit(pay, port, world.api_key, seconds=2 + 2 * sum(quiet.values()) * ROUNDS * len(pages))
        time.sleep(1)  # the load is there before the first page
        busy = measure(port, pages)
        rate = load.result()
    title = f"page, while {CLIENTS} clients pay {rate:.0f}/s"
    print(f"\n{title:48}{'quiet ms':>10}{'busy ms':>10}{'ratio':>8}{f'<= {MOST:g}':>8}")
    for name in pages:
        ratio = busy[name] / quiet[name]
        above = "" if ratio <= MOST else "   ABOVE"
        print(f"{name:48}{1000 * quiet[name]:10.0f}{1000 * busy[name]:10.0f}{ratio:8.2f}{above}")
    return all(busy[name] <= MOST * quiet[name] for name in pages)


def find_pages(world: World) -> dict[str, tuple[str, dict[str, str]]]:
    """Return paths and headers by name, for an administrator and for the merchant."""
    from alerts_audit.models import Episode
    from payments.models import Transaction

    Connection(world.ports[SERVER]).post(body(1))
    episode = wait_until(Episode.objects.order_by("-pk").first, what="the alert is projected")
    transaction = Transaction.objects.first()
    assert transaction is not None
    admin = {"Cookie": f"sessionid={log_in()}"}
    return {
        "admin, the newest transactions": ("/admin/payments/transaction/", admin),
        "admin, one transaction": (f"/admin/payments/transaction/{transaction.pk}/change/", admin),
        "admin, one alert": (f"/admin/alerts_audit/episode/{episode.pk}/change/", admin),
        "API, the newest transactions": ("/v1/transactions", {"Authorization": f"Bearer {world.api_key}"}),
    }


def log_in() -> str:
    from django.contrib.auth import get_user_model
    from django.test import Client

    client = Client()
    client.force_login(get_user_model().objects.create_superuser("bench"))
    return client.cookies["sessionid"].value


def measure(port: int, pages: dict[str, tuple[str, dict[str, str]]]) -> dict[str, float]:
    """Return the median seconds of each page, from interleaved requests."""
    times: dict[str, list[float]] = {name: [] for name in pages}
    for _ in range(ROUNDS):
        for name, (path, headers) in pages.items():
            times[name].append(read(port, path, headers))
            time.sleep(PAUSE_SECONDS)
    return {name: statistics.median(measured) for name, measured in times.items()}


def read(port: int, path: str, headers: dict[str, str]) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    start = time.perf_counter()
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    response.read()
    assert response.status == 200, (path, response.status)
    connection.close()
    return time.perf_counter() - start
