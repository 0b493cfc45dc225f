"""Signing keys and trusted keys. All of them are outside the database, in AUDIT_DIR (or AUDIT_SIGNING_KEY_FILE).

signing_key       secret, mode 0600; created when the log begins
signing_key.next  the next key, during a rotation
public_keys       the trust root: the public key with which the log began. Give it to anyone who will verify the log
                  later: a copy stored elsewhere is worth more than this file.

A later key is trusted because a checkpoint signed by the previous key names it (`next-key`).
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings

from alerts_audit.seal.signed_notes import SigningKey, new_key
from alerts_audit.seal.standalone import Invalid, Note, PublicKey, read_keys
from fintech.secret_files import read_secret, write_secret


class SealError(Exception):
    """The reason why the log cannot be sealed, in one sentence that names the remedy."""


def audit_dir() -> Path:
    """Return the folder. The first writer creates it."""
    return Path(settings.AUDIT_DIR)


def signing_key_file() -> Path:
    return Path(settings.AUDIT_SIGNING_KEY_FILE or audit_dir() / "signing_key")


def next_key_file() -> Path:
    return signing_key_file().with_name(f"{signing_key_file().name}.next")


def public_keys_file() -> Path:
    return audit_dir() / "public_keys"


def signing_key(*, last: Note | None) -> SigningKey:
    """Return the key that signs after `last`; create one if the log begins. Raise SealError."""
    with locked(audit_dir() / ".lock"):
        key = read_signing_key(signing_key_file())
        if last is None and key is None and not settings.AUDIT_SIGNING_KEY_FILE:
            key = new_key()
            write_secret(signing_key_file(), key.text())
        if last is not None and last.next_key is not None and (key is None or key.public != last.next_key):
            key = take_next_key(last.next_key)
        if key is None:
            raise SealError(
                f"There is no signing key in {signing_key_file()}: restore the key that signed this log,"
                " or continue with a new one (manage.py audit_key rotate --lost)."
            )
        if last is None and not public_keys_file().exists():
            trust(key.public)
        return key


def take_next_key(public: PublicKey) -> SigningKey | None:
    """Replace the old key by the key to which the last checkpoint hands over."""
    key = read_signing_key(next_key_file())
    if key is None or key.public != public:
        return None
    os.replace(next_key_file(), signing_key_file())
    return key


def make_next_key(name: str) -> SigningKey:
    """Create the next key in its file, or return the one of an interrupted rotation."""
    with locked(audit_dir() / ".lock"):
        key = read_signing_key(next_key_file())
        if key is None:
            key = new_key(name)
            write_secret(next_key_file(), key.text())
        return key


def read_signing_key(file: Path) -> SigningKey | None:
    try:
        text = read_secret(file)
        return SigningKey.parse(text) if text else None
    except (OSError, UnicodeDecodeError, Invalid) as error:
        raise SealError(f"The signing key in {file} cannot be used: {error}.") from None


def public_keys(file: Path | None = None) -> list[PublicKey]:
    """Return the trust root. Raise Invalid if there is none."""
    path = file or public_keys_file()
    try:
        return read_keys(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"there is no trust root: {path} cannot be read ({error})") from None


def trust(key: PublicKey) -> None:
    """Add a key to the trust root: the first key, or a new one after a loss."""
    with public_keys_file().open("a", encoding="utf-8") as file:
        file.write(f"{key}\n")
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock, so that one process of this host runs at a time."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
