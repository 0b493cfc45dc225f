"""Bearer tokens: API keys of merchants, tokens of alert sources, access tokens of people.

A token reads `<kind><8 characters>_<secret>`, such as `fk_4x7m2qrs_...`. The prefix, which ends before the secret, may
be shown and logged. Only the SHA-256 of the whole token is stored: the secret has 256 random bits, so no one can
search for it.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field

API_KEY, SOURCE, ACCESS = KINDS = ("fk_", "src_", "tr_")

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_RANDOM = 8  # characters of a prefix after its kind


@dataclass(frozen=True)
class Token:
    """A new token. `secret` is the whole of it, and is shown once."""

    prefix: str
    secret: str = field(repr=False)

    @property
    def sha256(self) -> bytes:
        return digest(self.secret)


def issue(kind: str) -> Token:
    """Create a token of one of KINDS."""
    prefix = kind + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
    return Token(prefix, f"{prefix}_{secrets.token_urlsafe(32)}")


def digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="replace")).digest()


def matches(secret: str, sha256: bytes) -> bool:
    """Compare hashes in constant time, so that the duration reveals nothing about a token."""
    return hmac.compare_digest(digest(secret), sha256)


def read_bearer(authorization: str | None) -> str:
    """Return the token of an Authorization header; "" if there is none or the scheme is another one."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def read_prefix(token: str, kind: str) -> str | None:
    """Return the prefix of a token that has the form of this kind."""
    found = re.fullmatch(rf"({kind}[{_ALPHABET}]{{{_RANDOM}}})_[\w-]{{43}}", token, re.ASCII)
    return found[1] if found else None
