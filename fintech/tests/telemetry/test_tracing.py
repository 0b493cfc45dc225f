"""Traces in one process: kept traces and headers. payments/tests/test_tracing.py has real programs."""

import secrets
import socket
import threading
import time
from dataclasses import dataclass, field
from threading import Event

import pytest

from fintech.env import SettingError
from fintech.telemetry import tracing
from fintech.telemetry.tracing import Exporter, Options, Step, Trace

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@dataclass
class Sent:
    """In the exporter's place: keeps what it is given. Nothing of it is sampled or slow by itself."""

    ratio: float = 0
    slow_nanoseconds: float = 60e9
    traces: list[tuple[Trace, Step]] = field(default_factory=list)

    def send(self, trace: Trace, root: Step) -> None:
        self.traces.append((trace, root))


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    keeper = Sent()
    monkeypatch.setattr(tracing, "_exporter", keeper)
    return keeper


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        PARENT.replace("00f067aa0ba902b7", "0" * 16),
        PARENT.replace("00-", "ff-", 1),
        PARENT.upper(),
        PARENT + "-more",
        PARENT + "\n",
    ],
)
def test_a_malformed_traceparent_begins_a_new_trace(sent, header):
    trace = tracing.begin(header)

    assert trace
    assert (trace.parent_id, trace.sampled) == (None, False)
    assert len(trace.trace_id) == 32


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("03", True), ("02", False)])
def test_the_callers_choice_counts(sent, flags, sampled):
    trace = tracing.begin(PARENT[:-2] + flags)

    assert trace
    assert (trace.trace_id, trace.sampled) == ("4bf92f3577b34da6a3ce929d0e0e4736", sampled)


def test_without_an_endpoint_there_is_no_trace(monkeypatch):
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    tracing.start("test")

    assert tracing.begin(PARENT) is None
    with tracing.step("T1") as step:
        step.note({"answer": 42})
        assert dict(step.headers) == {}


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "alloy:4318"),
        ("TRACE_SAMPLE_RATIO", "5"),
        ("TRACE_SAMPLE_RATIO", "often"),
        ("TRACE_SLOW_SECONDS", "-1"),
    ],
)
def test_a_wrong_setting_is_named(monkeypatch, setting, value):
    monkeypatch.setenv(setting, value)

    with pytest.raises(SettingError, match=setting):
        Options.read()


def test_a_search_for_the_collectors_name_does_not_hold_up_the_end(monkeypatch):
    searched, found = Event(), Event()

    def search(*_: object, **__: object) -> None:
        searched.set()
        found.wait()
        raise OSError("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", search)
    monkeypatch.setattr(tracing, "CLOSE_SECONDS", 0.05)
    exporter = Exporter("test", Options("http://collector.example:4318", 1, 0))
    trace = Trace(None, 1)
    exporter.send(trace, Step(trace, "T1", "server", {}))
    start = time.monotonic()
    exporter.close()

    assert time.monotonic() - start < 10  # by itself OpenTelemetry waits for 30 seconds
    assert searched.wait(5)
    found.set()
    for thread in threading.enumerate():
        if thread.name == "last spans":
            thread.join()  # else it logs its failure into a later test


def test_steps_of_another_request_are_not_ours(sent):
    first = tracing.begin(None)
    tracing.finish(first, "first", failed=True)
    with tracing.step("T1"):
        second = tracing.begin(None)
    tracing.finish(second, "second", failed=True)

    assert [trace.steps for trace, _ in sent.traces] == [[], []]


@pytest.mark.parametrize(("failed", "kept"), [(False, 0), (True, 1)])
def test_an_unsampled_trace_is_kept_only_if_it_failed(sent, failed, kept):
    tracing.finish(tracing.begin(None), "request", failed=failed)

    assert len(sent.traces) == kept


def test_a_slow_unsampled_trace_is_kept(sent):
    sent.slow_nanoseconds = 1
    tracing.finish(tracing.begin(None), "request", failed=False)

    assert len(sent.traces) == 1


def test_an_error_within_a_step_is_reported_by_its_type_without_its_text(sent):
    trace = tracing.begin(PARENT)
    with pytest.raises(ValueError, match="of Ada"), tracing.step("T1"):
        raise ValueError("of Ada")
    tracing.finish(trace, "request", failed=False)

    [step] = sent.traces[0][0].steps
    assert (step.failed, step.attributes) == (True, {"error.type": "ValueError"})


def test_a_task_that_fails_is_sent_as_failed_and_its_error_goes_on(sent):
    with pytest.raises(ZeroDivisionError), tracing.task("resolve", {"attempt": 2}):
        _ = 1 / 0

    [(_, root)] = sent.traces
    assert (root.name, root.failed, root.attributes) == ("resolve", True, {"attempt": 2})


def test_a_trace_has_a_bound(sent):
    trace = tracing.begin(PARENT)
    for _ in range(tracing.MAX_STEPS + 5):
        with tracing.step(secrets.token_hex(4)):
            pass

    assert trace
    assert len(trace.steps) == tracing.MAX_STEPS


def test_the_called_side_learns_the_caller(sent):
    tracing.begin(PARENT)
    with tracing.step("call", kind="client") as step:
        parsed = tracing.parse(step.headers["traceparent"])

    assert parsed
    assert isinstance(step, Step)
    assert parsed == ("4bf92f3577b34da6a3ce929d0e0e4736", step.span_id, True)
