"""A scrape is read in part, and refused if it is no metrics."""

import pytest

from fintech.telemetry.scrapes import read_samples

PAGE = """# HELP paid_total Payments.
# TYPE paid_total counter
paid_total{status="a b # \\"c\\"\\n"} 3.0
paid_total{status="failed"} +Inf
# TYPE seconds histogram
seconds_bucket{le="0.5"} 1
seconds_sum 0.25
# TYPE others_total counter
others_total{broken
"""


def test_the_samples_of_these_names_are_read_with_their_labels():
    found = [(sample.name, sample.labels, sample.value) for sample in read_samples(PAGE, ("paid_total", "seconds_"))]

    assert found == [
        ("paid_total", {"status": 'a b # "c"\n'}, 3.0),
        ("paid_total", {"status": "failed"}, float("inf")),
        ("seconds_bucket", {"le": "0.5"}, 1.0),
        ("seconds_sum", {}, 0.25),
    ]


def test_a_page_without_these_names_has_none():
    assert read_samples("other 1\n", ("paid_total",)) == []


def test_a_page_that_is_no_metrics_is_refused():
    with pytest.raises(ValueError, match="html"):
        read_samples("<html>\n", ("paid_total",))
