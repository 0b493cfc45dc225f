"""The replica's lag as a metric of the leading worker (`database_replica_lag_seconds`)."""

from collections.abc import Iterator

from django.db import connections
from prometheus_client import REGISTRY
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fintech.database import replica
from fintech.jobs import Job, Leader, Worker


class ReplicaLag(Collector):
    """Measures the lag, and exports it while this worker leads. Without a measured value there is no series."""

    def __init__(self, leader: Leader) -> None:
        self._leader = leader
        self._seconds: float | None = None

    def measure(self) -> None:
        self._seconds = None
        try:
            self._seconds = replica.lag_seconds()
        finally:
            connections.close_all()

    def collect(self) -> Iterator[Metric]:
        if self._leader.leading and self._seconds is not None:
            help_text = "Age of what the replica has replayed last; 0 if it has everything."
            yield GaugeMetricFamily("database_replica_lag_seconds", help_text, value=self._seconds)


def jobs(worker: Worker) -> list[Job]:
    if not replica.is_configured():
        return []
    lag = ReplicaLag(worker.leader)
    REGISTRY.register(lag)
    return [Job("replica_lag", 5, lag.measure, leader=True)]
