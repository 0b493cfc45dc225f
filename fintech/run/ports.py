"""The ports of a run: the usual ones, or ten from BASE_PORT."""

from dataclasses import dataclass

from fintech.run import RunError

ADVISED_BASE_PORT = 8200
# Browsers refuse these ports (https://fetch.spec.whatwg.org/#port-blocking); the ones below 1024 need root anyway.
BLOCKED_PORTS = frozenset(
    {1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080}
)


@dataclass(frozen=True)
class Ports:
    web: int = 5000
    gateway: int = 5001
    metrics: int = 9464
    worker: int = 9465
    prometheus: int = 9090
    alertmanager: int = 9093
    node_exporter: int = 9100
    blackbox_exporter: int = 9115
    merchant: int = 5002
    stripe: int = 5003

    @classmethod
    def from_base(cls, base: int) -> "Ports":
        """Return ten consecutive ports, for a machine on which the usual ones are taken."""
        return cls(*range(base, base + 10))


def read_ports(text: str) -> Ports:
    if not text:
        return Ports()
    if not text.isdecimal() or not 1024 <= int(text) <= 65_526:
        raise RunError(f"BASE_PORT={text} is wrong: use a number from 1024 to 65526, such as {ADVISED_BASE_PORT}.")
    base = int(text)
    if blocked := BLOCKED_PORTS.intersection(range(base, base + 10)):
        raise RunError(
            f"BASE_PORT={text} includes port {min(blocked)}, which browsers refuse to open:"
            f" use another one, such as {ADVISED_BASE_PORT}."
        )
    return Ports.from_base(base)
