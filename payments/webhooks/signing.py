"""The secrets of endpoints, and signatures by the Standard Webhooks specification.

A signature needs the secret itself, so a hash would not do. Secrets are stored encrypted with a key that is derived
from DJANGO_SECRET_KEY: the database alone, or its backup, does not reveal them. An encrypted secret is bound to its
endpoint, so it cannot be moved to another one.
"""

import base64
import hashlib
import hmac
import os
from collections.abc import Iterable
from datetime import datetime
from functools import cache
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

PREFIX = "whsec_"
NONCE_BYTES = 12


def encrypt(secret: str, endpoint: UUID) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + _cipher(settings.SECRET_KEY).encrypt(nonce, secret.encode(), endpoint.bytes)


def decrypt(encrypted: bytes, endpoint: UUID) -> str:
    """Return the secret. Raise ValueError if no key of the settings fits."""
    nonce, content = encrypted[:NONCE_BYTES], encrypted[NONCE_BYTES:]
    for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        try:
            return _cipher(key).decrypt(nonce, content, endpoint.bytes).decode()
        except InvalidTag:
            continue
    raise ValueError(f"the secret of endpoint {endpoint} was encrypted with another DJANGO_SECRET_KEY")


def sign(secrets_valid: Iterable[str], identifier: str, moment: datetime, body: bytes) -> dict[str, str]:
    """Return the headers of a delivery, with one signature for each valid secret."""
    timestamp = str(int(moment.timestamp()))
    content = f"{identifier}.{timestamp}.".encode() + body
    signatures = [
        hmac.new(base64.b64decode(secret.removeprefix(PREFIX)), content, hashlib.sha256).digest()
        for secret in secrets_valid
    ]
    return {
        "webhook-id": identifier,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{base64.b64encode(signature).decode()}" for signature in signatures),
    }


@cache
def _cipher(key: str) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, salt=None, info=b"payments.webhooks.secrets").derive(key.encode()))
