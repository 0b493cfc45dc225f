"""Measure a scrape after 500 workers have lived and died, in comparison with one after the first three.

`python -m loadtests.bench.scrape` prints both medians in milliseconds. It needs settings in the environment, but no
database. Workers are forks that take a slot, count in the metrics of payments, and are killed by SIGKILL.
"""

import os
import signal
import statistics
import tempfile
import time

WORKERS, GENERATIONS = 3, 167  # 501 workers


def live(ready: int) -> None:
    """Run a worker as far as its metrics files are concerned, then wait to be killed."""
    from fintech.telemetry import metric_slots

    metric_slots.claim("web", shared=True)
    from payments import metrics as payments

    for children in (payments.STATUS, payments.OUTCOME, payments.RESULT):
        for child in children.values():
            child.inc()
    for histogram in (payments.LATENCY, payments.OWN, payments.FRAUD_SCORE):
        histogram.observe(0.1)
    payments.IN_PROGRESS.inc()
    os.write(ready, b".")
    signal.pause()


def fork_worker(ready: int) -> int:
    pid = os.fork()
    if pid == 0:
        live(ready)
    return pid


def recycle(generations: int) -> None:
    """Run three workers in parallel and kill them by SIGKILL, before the next three."""
    news, ready = os.pipe()
    for _ in range(generations):
        pids = [fork_worker(ready) for _ in range(WORKERS)]
        for _ in pids:
            os.read(news, 1)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def scrape_milliseconds() -> float:
    from fintech.telemetry.metric_slots import render

    times = []
    for _ in range(40):
        start = time.perf_counter()
        render("web")
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "fintech.settings"
    with tempfile.TemporaryDirectory(prefix="fintech-scrape-") as directory:
        os.environ["RUNTIME_DIR"] = directory
        from django.conf import settings

        assert settings.SECRET_KEY  # forks share the loaded modules; metrics must come after the slot
        recycle(1)
        fresh = scrape_milliseconds()
        recycle(GENERATIONS)
        print(f"{fresh} {scrape_milliseconds()}")


if __name__ == "__main__":
    main()
