"""Checkpoints as signed notes (https://c2sp.org/signed-note, https://c2sp.org/tlog-checkpoint).

    alert-trail/5f0c9b1e                              the log's name
    1234                                              number of leaves
    qINS1GRFhWHwdkUeqLEoP4yEMkTBBzxBkGwGQlVlVcs=      their root
    time 2026-11-22T16:57:14.123456Z
                                                      (an empty line)
    — alert-trail/5f0c9b1e <base64 of the key's id and the signature>

Signed with Ed25519. A checkpoint that contains `next-key <public key>` hands over to that key, and both keys sign it.
"""

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from alerts_audit.seal.canonical import utc_text
from alerts_audit.seal.standalone import ED25519, HASH_SIZE, NEXT_KEY, Invalid, PublicKey, from_base64

PREFIX = "PRIVATE+KEY+"


@dataclass(frozen=True)
class SigningKey:
    """A signing key in the format `PRIVATE+KEY+name+key id+base64` of Go's `note` package. `repr` never shows it."""

    name: str
    seed: bytes

    def __repr__(self) -> str:
        return f"<signing key {self.public.id.hex()}>"

    @property
    def public(self) -> PublicKey:
        raw = self._private().public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return PublicKey(self.name, raw)

    def text(self) -> str:
        """Return the secret itself, for its file."""
        return f"{PREFIX}{self.name}+{self.public.id.hex()}+{base64.b64encode(ED25519 + self.seed).decode()}"

    def signature(self, text: str) -> str:
        """Return the signature line for `text`, which ends with a line break."""
        data = self.public.id + self._private().sign(text.encode())
        return f"— {self.name} {base64.b64encode(data).decode()}\n"

    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)

    @classmethod
    def parse(cls, text: str) -> "SigningKey":
        """Parse a signing key. Raise Invalid, whose message quotes nothing of the key."""
        name, _, rest = text.strip().removeprefix(PREFIX).partition("+")
        identifier, _, data = rest.partition("+")
        try:
            content = from_base64(data)
        except Invalid:
            content = b""
        found = cls(name, content[1:])
        if content[:1] != ED25519 or len(found.seed) != HASH_SIZE or found.public.id.hex() != identifier:
            raise Invalid("this is not a signing key: such a file begins with PRIVATE+KEY+, and must not be edited")
        return found


def new_key(name: str | None = None) -> SigningKey:
    """Create a key. `name` is the log's name, for a key that follows another one."""
    return SigningKey(name or f"alert-trail/{secrets.token_hex(4)}", secrets.token_bytes(HASH_SIZE))


def checkpoint_note(
    signer: SigningKey,
    size: int,
    root: bytes,
    at: datetime,
    *,
    extensions: Sequence[str] = (),
    next_key: SigningKey | None = None,
) -> str:
    lines = [signer.name, str(size), base64.b64encode(root).decode(), f"time {utc_text(at)}", *extensions]
    if next_key is not None:
        lines.append(f"{NEXT_KEY}{next_key.public}")
    text = "".join(f"{line}\n" for line in lines)
    signers = [signer] if next_key is None else [signer, next_key]
    return "\n".join([text, "".join(key.signature(text) for key in signers)])
