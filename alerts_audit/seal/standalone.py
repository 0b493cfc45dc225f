"""Check a proof that a row of evidence is in the sealed log. One file: it needs Python 3.11 and `cryptography`.

    python standalone.py proof.json --key public_keys [--checkpoint FILE] [--body FILE]

`--key`         the public keys that you trust, one per line: the file `public_keys` that you were given
`--checkpoint`  a checkpoint that you kept, or the whole file `checkpoints`: it rules out a history forged for you.
                Without it the checkpoint inside the proof is used
`--body`        the delivered body or the archive's file, byte for byte: checks that the proof is about it

Exits with 0 if everything matches, with 1 if anything does not, with 2 if it cannot check.

Formats: RFC 6962 (hashing and proofs), C2SP signed-note and tlog-checkpoint (https://c2sp.org/tlog-checkpoint).
"""

import argparse
import base64
import binascii
import hashlib
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

PROOF_FORMAT = "alert-trail-proof/1"
ED25519 = b"\x01"  # the signature's type in a key, as C2SP numbers them
HASH_SIZE = 32
KEY_ID_SIZE = 4
NEXT_KEY = "next-key "  # a checkpoint's extension line: the key that signs from then on


_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


class Invalid(Exception):
    """A mismatch, described in one sentence."""


# --- Hashing (RFC 6962, section 2.1) ---------------------------------------------------------------------------


def encode(document: Any) -> bytes:
    """Encode a row of evidence: JSON with sorted keys, no spaces, in UTF-8."""
    return _JSON.encode(document).encode()


def leaf_hash(content: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_from_path(index: int, size: int, leaf: bytes, path: Sequence[bytes]) -> bytes:
    """Return the root of an inclusion proof (RFC 9162, section 2.1.3.2). Raise Invalid if it is malformed."""
    if not 0 <= index < size:
        raise Invalid(f"leaf {index} cannot be among {size} leaves")
    number, last, found = index, size - 1, leaf
    for node in path:
        if last == 0:
            raise Invalid("the proof is too long")
        if number % 2 or number == last:
            found = node_hash(node, found)
            while number % 2 == 0 and number:
                number, last = number >> 1, last >> 1
        else:
            found = node_hash(found, node)
        number, last = number >> 1, last >> 1
    if last:
        raise Invalid("the proof is too short")
    return found


def check_consistency(first: int, second: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> None:
    """Check a consistency proof (RFC 9162, 2.1.4.2). Raise Invalid unless the second tree begins with the first."""
    if first == second and not path and old_root == new_root:
        return
    if not 0 < first < second or not path:
        raise Invalid(f"this is no proof from {first} to {second} leaves")
    nodes = list(path) if first & (first - 1) else [old_root, *path]
    number, last = first - 1, second - 1
    while number % 2:
        number, last = number >> 1, last >> 1
    old = new = nodes[0]
    for node in nodes[1:]:
        if last == 0:
            raise Invalid("the proof is too long")
        if number % 2 or number == last:
            old, new = node_hash(node, old), node_hash(node, new)
            while number % 2 == 0 and number:
                number, last = number >> 1, last >> 1
        else:
            new = node_hash(new, node)
        number, last = number >> 1, last >> 1
    if last or old != old_root or new != new_root:
        raise Invalid(f"the log of {second} leaves does not begin with that of {first}")


# --- Keys and notes --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PublicKey:
    """A public key in the format `name+key id+base64` of Go's `note` package."""

    name: str
    key: bytes

    @property
    def id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + ED25519 + self.key).digest()[:KEY_ID_SIZE]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(ED25519 + self.key).decode()}"

    @classmethod
    def parse(cls, text: str) -> "PublicKey":
        name, _, rest = text.strip().partition("+")
        identifier, _, data = rest.partition("+")
        content = from_base64(data)
        found = cls(name, content[1:])
        if content[:1] != ED25519 or len(found.key) != HASH_SIZE or found.id.hex() != identifier:
            raise Invalid(f"{text.strip()[:120]!r} is no public key")
        return found


@dataclass(frozen=True)
class Note:
    """A published checkpoint. `text` is the signed part."""

    text: str
    signatures: tuple[tuple[str, bytes], ...]  # name, key id and signature
    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...]

    @classmethod
    def parse(cls, note: str) -> "Note":
        text, found, rest = note.rpartition("\n\n")
        lines = text.split("\n")
        try:
            if not found or len(lines) < 3 or not rest.endswith("\n") or not all(lines):
                raise ValueError
            signatures = tuple(cls._signature(line) for line in rest[:-1].split("\n"))
            size, root = int(lines[1]), from_base64(lines[2])
            if str(size) != lines[1] or size < 0 or len(root) != HASH_SIZE:
                raise ValueError
        except ValueError:
            raise Invalid(f"this is no checkpoint: {note[:80]!r}") from None
        return cls(f"{text}\n", signatures, lines[0], size, root, tuple(lines[3:]))

    @staticmethod
    def _signature(line: str) -> tuple[str, bytes]:
        dash, name, data = line.split(" ")
        if dash != "—":
            raise ValueError
        return name, from_base64(data)

    @property
    def next_key(self) -> PublicKey | None:
        """Return the key that signs from then on, for which this signature vouches."""
        for line in self.extensions:
            if line.startswith(NEXT_KEY):
                return PublicKey.parse(line.removeprefix(NEXT_KEY))
        return None

    def signer(self, keys: Iterable[PublicKey]) -> PublicKey:
        """Return the signer among these keys. Raise Invalid if none signed it, or one signed something else."""
        known = {(key.name, key.id): key for key in keys}
        for name, data in self.signatures:
            key = known.get((name, data[:KEY_ID_SIZE]))
            if key is None or name != self.origin:
                continue
            try:
                Ed25519PublicKey.from_public_bytes(key.key).verify(data[KEY_ID_SIZE:], self.text.encode())
            except InvalidSignature:
                raise Invalid(f"its signature by the key {key.id.hex()} is false") from None
            return key
        ids = ", ".join(data[:KEY_ID_SIZE].hex() for _, data in self.signatures)
        raise Invalid(f"it is signed by {ids}, which is no key that is trusted there")


def from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Invalid(f"{text[:80]!r} is no base64") from None


def read_keys(text: str) -> list[PublicKey]:
    """Read one key per line, skipping empty lines and lines that begin with #."""
    lines = [line.strip() for line in text.splitlines()]
    keys = [PublicKey.parse(line) for line in lines if line and not line.startswith("#")]
    if not keys:
        raise Invalid("there is no public key in the file")
    return keys


def read_notes(text: str) -> list[Note]:
    """Read a file with one note, or the file `checkpoints`: a JSON object with a `note` per line.

    Raise Invalid if there is none, because a requested comparison must not be skipped.
    """
    if not text.startswith("{"):
        return [Note.parse(text)]
    found = []
    for line in text.splitlines():
        try:
            found.append(Note.parse(json.loads(line)["note"]))
        except (ValueError, KeyError, TypeError):
            continue  # a line torn by a crash; the complete one follows it
    if not found:
        raise Invalid("there is no checkpoint in the file of those that you kept")
    return found


# --- A proof ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Proof:
    """A proof. `growth` leads from the checkpoint of `grown_from` leaves to `note`, if it was requested."""

    leaf: dict[str, Any]
    index: int
    path: tuple[bytes, ...]
    note: Note
    grown_from: int = 0
    growth: tuple[bytes, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Proof":
        try:
            found = json.loads(text)
            if found["format"] != PROOF_FORMAT:
                raise Invalid(f"the proof's format is {found['format']!r}, not {PROOF_FORMAT!r}")
            path = tuple(bytes.fromhex(node) for node in found["path"])
            growth = tuple(bytes.fromhex(node) for node in found.get("growth", ()))
            note = Note.parse(found["checkpoint"])
            encode(found["leaf"])
            return cls(found["leaf"], int(found["index"]), path, note, int(found.get("grown_from", 0)), growth)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise Invalid("this is no proof") from None

    def check(self, keys: Iterable[PublicKey], kept: Sequence[Note] = ()) -> str:
        """Check everything and describe it. `kept` are checkpoints from elsewhere. Raise Invalid on any mismatch."""
        root = root_from_path(self.index, self.note.size, leaf_hash(encode(self.leaf)), self.path)
        if root != self.note.root:
            raise Invalid("the proof does not lead to its checkpoint's root: the row or the proof was changed")
        trusted = trusted_keys(keys, kept)
        signer = self.note.signer(trusted).id.hex()
        if not kept:
            return f"it is in the log of {self.note.size} leaves that key {signer} signed"
        said = f"it is in the log of {self.note.size} leaves that key {signer} signed"
        if same := [note for note in kept if note.size == self.note.size]:
            for note in same:
                note.signer(trusted)
                if note.root != root:
                    raise Invalid("the checkpoint you kept has another root: two histories were signed")
            return f"{said}, as in the checkpoint you kept"
        # An old key may have leaked: what it signed counts only if it is among the checkpoints kept from that time.
        if signer in retired_ids(kept):
            raise Invalid(
                f"the key {signer} handed over to another key in a checkpoint you kept,"
                f" and you kept no checkpoint of {self.note.size} leaves"
            )
        # The maker of the proof chose `grown_from`. A history that continues an earlier one may contradict a later one.
        largest = max(note.size for note in kept)
        if self.grown_from != largest:
            raise Invalid(
                f"the proof's checkpoint of {self.note.size} leaves is not among those you kept, the largest of which"
                f" is of {largest}: ask for a proof of that size"
            )
        for note in kept:
            if note.size == largest:
                note.signer(trusted)
                check_consistency(largest, self.note.size, note.root, root, self.growth)
        return f"{said}, which begins with the {self.grown_from} leaves of the checkpoint you kept"


def trusted_keys(keys: Iterable[PublicKey], notes: Iterable[Note]) -> list[PublicKey]:
    """Return `keys` and all keys to which a checkpoint signed by one of them hands over."""
    trusted = list(keys)
    for note in notes:
        following = note.next_key
        if following is not None and following not in trusted:
            note.signer(trusted)
            trusted.append(following)
    return trusted


def retired_ids(notes: Iterable[Note]) -> set[str]:
    """Return the ids of the keys that handed over to another one, in checkpoints that `trusted_keys` has checked."""
    handovers = [(note, following) for note in notes if (following := note.next_key) is not None]
    signers = {(data[:KEY_ID_SIZE], following.id) for note, following in handovers for _, data in note.signatures}
    return {signer.hex() for signer, following in signers if signer != following}


def check_body(leaf: dict[str, Any], digest: str) -> str:
    row = leaf["row"]
    if digest == row.get("kept_sha256") and digest != row.get("sha256"):
        return "the body is the part of it that was kept"
    if digest != row.get("sha256"):
        raise Invalid(f"the body's SHA-256 is {digest}, not {row.get('sha256')}")
    return "the body is what was delivered, byte for byte"


def check_file(leaf: dict[str, Any], name: str, digest: str) -> str:
    """Check the file of a leaf that names one: an archive."""
    row = leaf["row"]
    if digest != row["file_sha256"]:
        raise Invalid(f"the file's SHA-256 is {digest}, not {row['file_sha256']}")
    if name != row["file_name"]:
        raise Invalid(f"the file's name is {name}, not {row['file_name']}")
    return "the file is what was archived, byte for byte"


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description="Check a proof that a row of evidence is in the sealed log.")
    parser.add_argument("proof", type=Path)
    parser.add_argument("--key", type=Path, required=True, help="the public keys you trust, one a line")
    parser.add_argument("--checkpoint", type=Path, help="a checkpoint that you kept, or the file `checkpoints`")
    parser.add_argument("--body", type=Path, help="the delivery's body, or the archive's file, byte for byte")
    options = parser.parse_args()
    try:
        texts = [path.read_text(encoding="utf-8") for path in (options.proof, options.key)]
        kept_text = options.checkpoint.read_text(encoding="utf-8") if options.checkpoint else None
        digest = sha256_of(options.body) if options.body else None
    except (OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    try:
        proof = Proof.parse(texts[0])
        said = [proof.check(read_keys(texts[1]), read_notes(kept_text) if kept_text is not None else ())]
        if digest is not None and "file_sha256" in proof.leaf["row"]:
            said.append(check_file(proof.leaf, options.body.name, digest))
        elif digest is not None:
            said.append(check_body(proof.leaf, digest))
    except Invalid as error:
        sys.stdout.write(f"FALSE: {error}.\n")
        return 1
    row = proof.leaf["row"]
    name = f"{proof.leaf['leaf']} {row.get('id', row.get('number'))}"
    sys.stdout.write(f"TRUE: {name} is leaf {proof.index}; {'; '.join(said)}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
