"""The controlled load test: `python -m loadtests.run`. docs/load-testing.md is its manual."""


class LoadTestError(Exception):
    """A load test that cannot begin; the message is one sentence for its user."""
