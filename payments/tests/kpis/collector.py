"""A receiver of OTLP/HTTP on loopback: what a real collector would be sent, read with OpenTelemetry's own protobuf."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from fintech.testing.processes import wait_until


@dataclass(frozen=True)
class Span:
    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str | None
    kind: str
    failed: bool
    start: int  # nanoseconds since 1970
    end: int
    attributes: dict[str, Any]

    @classmethod
    def read(cls, service: str, message: SpanMessage) -> "Span":
        return cls(
            service=service,
            name=message.name,
            trace_id=message.trace_id.hex(),
            span_id=message.span_id.hex(),
            parent_id=message.parent_span_id.hex() or None,
            kind=SpanMessage.SpanKind.Name(message.kind).removeprefix("SPAN_KIND_").lower(),
            failed=message.status.code == Status.STATUS_CODE_ERROR,
            start=message.start_time_unix_nano,
            end=message.end_time_unix_nano,
            attributes={entry.key: value_of(entry.value) for entry in message.attributes},
        )


def value_of(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))


class Collector:
    """`spans` are all that came so far."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.spans: list[Span] = []
        self.bodies: list[bytes] = []

    def receive(self, path: str, body: bytes) -> int:
        if path != "/v1/traces":
            return 404
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = {entry.key: value_of(entry.value) for entry in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [Span.read(names["service.name"], message) for message in scope.spans]
        self.bodies.append(body)
        return 200

    def trace(self, trace_id: str) -> list[Span]:
        return [span for span in self.spans if span.trace_id == trace_id]

    def wait_for(self, trace_id: str, *names: str) -> dict[str, Span]:
        """Return the metrics by name, once all of these exist."""

        def found() -> dict[str, Span] | None:
            spans = {span.name: span for span in self.trace(trace_id)}
            return spans if set(names) <= spans.keys() else None

        return wait_until(found, timeout=15, what=f"the spans {', '.join(names)} of trace {trace_id}")


@contextmanager
def running_collector() -> Iterator[Collector]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(collector.receive(self.path, body))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(server.server_port)
        thread = threading.Thread(target=server.serve_forever, args=[0.05], daemon=True)
        thread.start()
        yield collector
        server.shutdown()
        thread.join()
