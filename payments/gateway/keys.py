"""The keys that the gateway knows our operations by.

A key is derived from the merchant, the kind and the merchant's idempotency key. If we lose a row that we had stored (a
failover to a replica that lagged behind), a retry sends the same key, and the gateway answers with the first charge
instead of charging again. Rows of earlier releases have their own id as their key.
"""

import hashlib
from uuid import UUID


def charge_key(merchant_namespace: UUID, idempotency_key: str) -> UUID:
    return _derive(merchant_namespace, f"charge:{idempotency_key}")


def refund_key(charge: UUID, idempotency_key: str) -> UUID:
    """`charge` is the gateway key of the payment, which depends on the merchant."""
    return _derive(charge, f"refund:{idempotency_key}")


def capture_key(authorization: UUID, idempotency_key: str) -> UUID:
    return _derive(authorization, f"capture:{idempotency_key}")


def void_key(authorization: UUID, idempotency_key: str) -> UUID:
    return _derive(authorization, f"void:{idempotency_key}")


def dispute_key(name: str) -> UUID:
    """Return our key of a dispute that its gateway has named."""
    return _derive(UUID(int=0), f"dispute:{name}")


def _derive(namespace: UUID, name: str) -> UUID:
    """Return a UUID v8 (RFC 9562) made of a SHA-256."""
    number = int.from_bytes(hashlib.sha256(namespace.bytes + name.encode()).digest()[:16])
    return UUID(int=number & ~(0xF << 76) & ~(0x3 << 62) | 0x8 << 76 | 0x2 << 62)
