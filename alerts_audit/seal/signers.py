"""Which public key signed a checkpoint, for whoever reads the log through the web.

The trust root is a file beside the signing key, and the web need not be able to read it: in Compose only the worker
holds that folder. So each checkpoint's row names its key. A row can be changed by whoever can change the database,
and is taken at its word only if that key's signature is on the note. Whether a key is the right one is for the copy to
tell that the reader was given.
"""

from collections.abc import Sequence

from alerts_audit.models import Checkpoint
from alerts_audit.seal import keys
from alerts_audit.seal.standalone import Invalid, Note, PublicKey


def trust_root() -> list[PublicKey]:
    """Oldest first; empty before the first checkpoint, or where the file is out of reach."""
    try:
        return keys.public_keys()
    except (Invalid, OSError):
        return []


def signers_of(checkpoints: Sequence[Checkpoint]) -> dict[int, str | None]:
    """By the checkpoint's number; None if nobody here knows the key, or its signature is false."""
    known = [*trust_root(), *filter(None, map(_named, checkpoints))]
    return {checkpoint.pk: _signer(checkpoint, known) for checkpoint in checkpoints}


def _named(checkpoint: Checkpoint) -> PublicKey | None:
    try:
        return PublicKey.parse(checkpoint.public_key or "")
    except Invalid:
        return None


def _signer(checkpoint: Checkpoint, known: Sequence[PublicKey]) -> str | None:
    """Of two signatures, as where keys change, the one of the key that the row is kept under."""
    try:
        return str(Note.parse(checkpoint.note).signer(key for key in known if key.id.hex() == checkpoint.key_id))
    except Invalid:
        return None
