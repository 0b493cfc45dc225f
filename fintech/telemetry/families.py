"""The metrics of a collector: one value, or one for each value of a label."""

from collections.abc import Iterable, Mapping

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric


def gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value=value)


def gauges(name: str, documentation: str, label: str, values: Iterable[str], numbers: Mapping[str, float]) -> Metric:
    """Return one sample for each value of the label, 0 where there is no number."""
    return _fill(GaugeMetricFamily(name, documentation, labels=[label]), values, numbers)


def counters(name: str, documentation: str, label: str, values: Iterable[str], numbers: Mapping[str, float]) -> Metric:
    return _fill(CounterMetricFamily(name, documentation, labels=[label]), values, numbers)


def _fill(
    family: GaugeMetricFamily | CounterMetricFamily, values: Iterable[str], numbers: Mapping[str, float]
) -> Metric:
    for value in values:
        family.add_metric([value], numbers.get(value, 0))
    return family
