"""The live line: differences between scrapes, and what the person sees of them."""

import io
from threading import Thread

import pytest

from fintech.run import kpis
from fintech.run.console import CLEAR_LINE, Console
from fintech.run.kpis import Kpis, Samples
from fintech.telemetry.metrics_server import MetricsServer

BEFORE: Samples = {
    "transactions_total": {(("status", "succeeded"),): 100, (("status", "failed"),): 5},
    "transaction_latency_seconds_sum": {(): 10},
    "transaction_latency_seconds_count": {(): 100},
    "transaction_latency_seconds_bucket": {(("le", "0.1"),): 100, (("le", "0.5"),): 100, (("le", "+Inf"),): 100},
    "transaction_amount_sum": {(("currency", "EUR"),): 1000, (("currency", "JPY"),): 70},
    "transactions_in_progress": {(): 1},
}
AFTER: Samples = {
    "transactions_total": {(("status", "succeeded"),): 190, (("status", "failed"),): 15},
    "transaction_latency_seconds_sum": {(): 15},
    "transaction_latency_seconds_count": {(): 200},
    "transaction_latency_seconds_bucket": {(("le", "0.1"),): 180, (("le", "0.5"),): 200, (("le", "+Inf"),): 200},
    "transaction_amount_sum": {(("currency", "EUR"),): 2500, (("currency", "JPY"),): 70},
    "transactions_in_progress": {(): 3},
}
WORKER: Samples = {
    "unresolved_transactions": {(): 2},
    "kpi_drift": {(("status", "failed"),): -1, (("status", "succeeded"),): 1},
    "gateway_drift": {(("currency", "EUR"),): 0},
}


@pytest.fixture
def scrapes(monkeypatch):
    """Scrapes to come, ten seconds apart: (of web, of the worker)."""
    coming: list[tuple[Samples, Samples]] = []
    now = [0.0]

    def read_metrics(url: str) -> Samples:
        if url == "worker":
            now[0] += 10
            return coming.pop(0)[1]
        return coming[0][0]

    monkeypatch.setattr(kpis, "read_metrics", read_metrics)
    monkeypatch.setattr(kpis.time, "monotonic", lambda: now[0])
    return coming


def line_after(scrapes, *coming: tuple[Samples, Samples]) -> str:
    scrapes.extend(coming)
    live = Kpis("web", "worker")
    while scrapes:
        live.refresh()
    return live.line()


def test_only_the_metrics_of_the_line_are_read():
    needed = BEFORE | WORKER | {"webhook_attempts_total": {(("outcome", "delivered"),): 3}}
    other: Samples = {"metrics_epoch_info": {(("epoch", "1"),): 1}, "django_http_responses_total": {(): 1}}
    page = "".join(
        name + "{" + ",".join(f'{label}="{value}"' for label, value in labels) + f"}} {number}\n"
        for name, samples in (needed | other).items()
        for labels, number in samples.items()
    )

    with MetricsServer(("127.0.0.1", 0), page.encode) as server:
        thread = Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        found = kpis.read_metrics(f"http://127.0.0.1:{server.server_address[1]}/metrics")
        server.shutdown()
        thread.join()

    assert found == needed | {"metrics_epoch_info": other["metrics_epoch_info"]}


def test_the_line_shows_rates_between_two_scrapes(scrapes):
    line = line_after(scrapes, (BEFORE, WORKER), (AFTER, WORKER))

    assert line == (
        "10.0 TPS | errors 10.0 % | avg 50 ms, p95 400 ms | in progress 3 | unresolved 2 | drift 2"
        " | revenue/min EUR 9,000"
    )


def test_opposite_drifts_do_not_cancel_out(scrapes):
    assert "drift 2" in line_after(scrapes, (BEFORE, WORKER), (AFTER, WORKER))


def test_one_scrape_alone_shows_zeros_and_no_error(scrapes):
    assert line_after(scrapes, (BEFORE, WORKER)).startswith("0.0 TPS | errors 0.0 % | avg 0 ms, p95 0 ms")


def test_counters_that_restart_give_no_negative_rate(scrapes):
    assert line_after(scrapes, (AFTER, WORKER), (BEFORE, WORKER)).startswith("0.0 TPS")


def test_a_worker_that_does_not_answer_is_named(scrapes):
    assert "the worker does not answer" in line_after(scrapes, (BEFORE, {}))


def test_an_exporter_that_does_not_answer_is_named(scrapes):
    assert line_after(scrapes, ({}, WORKER)) == "no metrics: the exporter does not answer"


def test_nothing_listening_gives_no_samples():
    assert kpis.read_metrics("http://127.0.0.1:1/metrics") == {}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_keeps_the_live_line_below_messages():
    screen = Terminal()
    console = Console(screen)
    console.live("5 TPS")
    console.say("worker ended")

    assert screen.getvalue() == f"{CLEAR_LINE}5 TPS{CLEAR_LINE}worker ended\n5 TPS"


def test_without_a_terminal_there_are_few_lines_and_no_control_characters():
    screen = io.StringIO()
    console = Console(screen)
    for _ in range(5):
        console.live("5 TPS")

    assert screen.getvalue().count("5 TPS\n") == 1
    assert "\x1b" not in screen.getvalue()


def test_a_step_that_fails_is_not_reported_as_done():
    screen = io.StringIO()
    with pytest.raises(RuntimeError), Console(screen).step("Migrating", "Migrated"):
        raise RuntimeError

    assert "Migrated" not in screen.getvalue()


def test_a_closed_pipe_ends_the_run_but_not_its_orderly_stop():
    class Pipe(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    console = Console(Pipe())
    with pytest.raises(BrokenPipeError):
        console.say("Ready")

    console.say("Stopping")
