"""Traces: each request stores the times of its steps, and spans are created from them when it is over.

So no OpenTelemetry code runs during a payment, and the decision to keep a trace can wait for the outcome: a twentieth
of all requests (TRACE_SAMPLE_RATIO), those that a caller has sampled, and all that failed, stayed unknown or were slow
(TRACE_SLOW_SECONDS). Without OTEL_EXPORTER_OTLP_ENDPOINT there is no tracing, and a step costs one read of a variable.

Attributes describe the event, never the customer: no card, no customer, no amount, no text from a client.

Sources: W3C Trace Context (`traceparent`; `traceresponse` of its second level), OpenTelemetry's semantic conventions.
"""

import logging
import random
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from fintech import env

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanProcessor

# The maximum number of steps in a trace; further steps of a large batch are omitted.
MAX_STEPS = 100
# Spans that wait to be sent. While the collector is unavailable, further ones are dropped and payments continue.
MAX_QUEUE_SIZE, MAX_EXPORT_SIZE = 4096, 512
EXPORT_TIMEOUT_SECONDS = 3.0
# Longer than an export, except for the resolution of the collector's name, which no timeout limits.
CLOSE_SECONDS = 4.0
EXAMPLE = "http://127.0.0.1:4318"

Attributes = Mapping[str, str | float | bool]
NO_ATTRIBUTES: Attributes = MappingProxyType({})
# Attributes of a step that waits for the database.
DATABASE: Attributes = {"db.system.name": "postgresql", "db.namespace": "fintech", "peer.service": "postgresql"}

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-((?!0{32})[0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-([0-9a-f]{2})")


class Step:
    """A part of a request, from `with` to its end. `failed` marks it as an error."""

    __slots__ = ("attributes", "end", "failed", "kind", "name", "span_id", "start", "trace")

    def __init__(self, trace: "Trace", name: str, kind: str, attributes: Attributes) -> None:
        self.trace, self.name, self.kind, self.attributes = trace, name, kind, dict(attributes)
        self.span_id = _random_id(64)
        self.start = self.end = 0  # nanoseconds since 1970
        self.failed = False

    def __enter__(self) -> Self:
        self.start = time.time_ns()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        self.end = time.time_ns()
        if error is not None:
            self.failed = True
            self.attributes["error.type"] = type(error).__name__
        if len(self.trace.steps) < MAX_STEPS:
            self.trace.steps.append(self)

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers for the called program: this step is its parent."""
        return {"traceparent": f"00-{self.trace.trace_id}-{self.span_id:016x}-{'01' if self.trace.sampled else '00'}"}

    def note(self, attributes: Attributes, *, failed: bool = False) -> None:
        """Add attributes that are known only at the end."""
        self.failed = self.failed or failed
        self.attributes.update(attributes)


class _Nothing:
    """The step of a request without a trace."""

    headers: Mapping[str, str] = MappingProxyType({})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def note(self, attributes: Attributes, *, failed: bool = False) -> None:
        pass


_NOTHING = _Nothing()
AnyStep = Step | _Nothing


class Trace:
    """The trace of one request: its caller, and the times of its steps.

    `sampled` was decided at the start; `kept` is the final decision.
    """

    __slots__ = ("kept", "parent_id", "root_id", "sampled", "start", "steps", "trace_id")

    def __init__(self, traceparent: str | None, ratio: float) -> None:
        parent = parse(traceparent)
        self.trace_id = parent[0] if parent else f"{_random_id(128):032x}"
        self.parent_id = parent[1] if parent else None
        self.sampled = bool(parent and parent[2]) or random.random() < ratio  # noqa: S311 - no secret
        self.root_id = _random_id(64)
        self.kept = self.sampled
        self.steps: list[Step] = []
        self.start = time.time_ns()

    @property
    def traceresponse(self) -> str:
        """Return the header for the caller."""
        return f"00-{self.trace_id}-{self.root_id:016x}-{'01' if self.kept else '00'}"


def parse(traceparent: str | None) -> tuple[str, int, bool] | None:
    """Return trace id, the caller's span, and whether the caller keeps it; None if it is malformed."""
    found = _TRACEPARENT.fullmatch(traceparent or "")
    return (found[1], int(found[2], 16), bool(int(found[3], 16) & 1)) if found else None


def _random_id(bits: int) -> int:
    return random.getrandbits(bits) or 1  # 0 would be none


# --- While a request is being served -----------------------------------------------------------------------

_current: ContextVar[Trace | None] = ContextVar("trace", default=None)
_exporter: "Exporter | None" = None


def begin(traceparent: str | None) -> Trace | None:
    """Begin the trace of a request in this thread or task; None without tracing."""
    trace = None if _exporter is None else Trace(traceparent, _exporter.ratio)
    _current.set(trace)
    return trace


def step(name: str, attributes: Attributes = NO_ATTRIBUTES, *, kind: str = "internal") -> AnyStep:
    """Record a part of the current request. `kind`: internal, or client for a call to another program."""
    trace = _current.get()
    return _NOTHING if trace is None else Step(trace, name, kind, attributes)


def keep() -> None:
    """Keep the trace of the current request, because it failed."""
    trace = _current.get()
    if trace is not None:
        trace.kept = True


def finish(
    trace: Trace | None, name: str, attributes: Attributes = NO_ATTRIBUTES, *, failed: bool, kind: str = "server"
) -> None:
    """End the request, and send its spans if it is kept or was slow."""
    _current.set(None)
    if trace is None or _exporter is None:
        return
    end = time.time_ns()
    trace.kept = trace.kept or failed or end - trace.start >= _exporter.slow_nanoseconds
    if trace.kept:
        root = Step(trace, name, kind, attributes)
        root.span_id, root.start, root.end, root.failed = trace.root_id, trace.start, end, failed
        _exporter.send(trace, root)


@contextmanager
def task(name: str, attributes: Attributes) -> Iterator[None]:
    """Trace work outside of a request, such as the resolver's; always kept."""
    trace = begin(None)
    if trace is not None:
        trace.kept = trace.sampled = True
    failed = True
    try:
        yield
        failed = False
    finally:
        finish(trace, name, attributes, failed=failed, kind="internal")


# --- Sending -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Options:
    """Options of tracing. Without an endpoint there is none."""

    endpoint: str
    ratio: float
    slow_seconds: float

    @classmethod
    def read(cls) -> Self:
        """Read the options from the environment. Raise SettingError."""
        endpoint = env.text("OTEL_EXPORTER_OTLP_ENDPOINT", "")
        if endpoint:
            env.url("OTEL_EXPORTER_OTLP_ENDPOINT", EXAMPLE)
        return cls(endpoint, env.number("TRACE_SAMPLE_RATIO", 0.05, most=1), env.number("TRACE_SLOW_SECONDS", 0.3))


class Exporter:
    """Creates spans and passes them to OpenTelemetry's batch processor, which sends them from its own thread."""

    def __init__(self, service: str, options: Options) -> None:
        # Imported here, so that it is loaded only with tracing.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        # Final failures are logged, not each attempt: while the collector is unavailable there is one every few
        # seconds.
        logging.getLogger("opentelemetry").setLevel(logging.ERROR)
        self.ratio = options.ratio
        self.slow_nanoseconds = options.slow_seconds * 1e9
        self._resource = Resource.create({"service.name": service, "service.namespace": "fintech"})
        self._scope = InstrumentationScope("fintech.telemetry.tracing")
        sender = OTLPSpanExporter(endpoint=f"{options.endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_TIMEOUT_SECONDS)
        self._processor: SpanProcessor = BatchSpanProcessor(
            sender, max_queue_size=MAX_QUEUE_SIZE, max_export_batch_size=MAX_EXPORT_SIZE
        )

    def send(self, trace: Trace, root: Step) -> None:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

        trace_id, flags = int(trace.trace_id, 16), TraceFlags(TraceFlags.SAMPLED)

        def context(span_id: int, *, remote: bool = False) -> SpanContext:
            return SpanContext(trace_id, span_id, is_remote=remote, trace_flags=flags)

        caller = None if trace.parent_id is None else context(trace.parent_id, remote=True)
        for one in (root, *trace.steps):
            span = ReadableSpan(
                name=one.name,
                context=context(one.span_id),
                parent=caller if one is root else context(trace.root_id),
                resource=self._resource,
                attributes=one.attributes,
                kind=SpanKind[one.kind.upper()],
                status=Status(StatusCode.ERROR if one.failed else StatusCode.UNSET),
                start_time=one.start,
                end_time=one.end,
                instrumentation_scope=self._scope,
            )
            self._processor.on_end(span)

    def close(self) -> None:
        """Send the waiting spans, within CLOSE_SECONDS."""
        closing = threading.Thread(target=self._processor.shutdown, name="last spans", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)


def start(service: str) -> None:
    """Start after the fork, because threads and connections do not survive it. Raise SettingError."""
    global _exporter  # noqa: PLW0603 - a process has one
    options = Options.read()
    if options.endpoint:
        _exporter = Exporter(service, options)


def stop() -> None:
    """Send the waiting spans, and disable tracing."""
    global _exporter
    exporter, _exporter = _exporter, None
    if exporter is not None:
        exporter.close()
