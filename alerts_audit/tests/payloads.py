"""Bodies as Alertmanager sends them."""

import json
from typing import Any


def alertmanager_body(*names: str, status: str = "firing", **fields: Any) -> bytes:
    alerts = [
        {
            "status": status,
            "labels": {"alertname": name, "severity": "critical"},
            "annotations": {"summary": "More than 5 % of payments fail."},
            "startsAt": "2026-11-22T13:40:00Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus:9090/graph",
            "fingerprint": "c6a3f6d1e4b5a2f0",
        }
        for name in names
    ]
    document = {
        "version": "4",
        "groupKey": '{}:{alertname="PaymentErrorRatioHigh"}',
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "audit",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager:9093",
        "alerts": alerts,
        **fields,
    }
    return json.dumps(document).encode()


UNREADABLE = {
    "nothing": b"",
    "half an object": b'{"receiver": "audit", "alerts": [',
    "no object": b"[1, 2, 3]",
    "an empty object": b"{}",
    "NUL and rubbish": b"\x00\xff\xfe\x00",
    "invalid UTF-8": alertmanager_body("Latin").replace(b"Latin", b"\xe9t\xe9"),
    "an annotation of invalid UTF-8": alertmanager_body("X").replace(b"More", b"\xe9t\xe9"),
    "deep nesting": b"[" * 100_000,
    "deep nesting in an ignored member": b'{"x":' + b'{"x":' * 50_000,
    "alerts of another type": alertmanager_body(alerts={"a": 1}),
    "something compressed": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03",
}
READABLE = {
    "one alert": alertmanager_body("PaymentErrorRatioHigh"),
    "no alerts": alertmanager_body(),
    "another version with new keys": alertmanager_body("X", version="5", notification_reason="new"),
    "NUL in a label": alertmanager_body("a\0b"),
    "emoji": alertmanager_body("💳<script>"),
    "a label of 1 MB": alertmanager_body("x" * 1_000_000),
    "half a surrogate": alertmanager_body("X").replace(b'"X"', b'"\\ud800"'),
    "a label that is a number": alertmanager_body("X").replace(b'"critical"', b"7"),
}
