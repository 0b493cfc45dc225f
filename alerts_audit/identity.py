"""Identity of an alert: its cluster and its labels."""

import hashlib

import msgspec

_canonical = msgspec.json.Encoder(order="sorted")


def identify(cluster: str, labels: dict[str, str]) -> bytes:
    """Return the SHA-256 of the cluster and the labels in canonical JSON; the order of the labels does not matter."""
    return hashlib.sha256(_canonical.encode([cluster, labels])).digest()
