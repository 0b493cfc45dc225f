"""Find the public key that signed a checkpoint, for readers of the log over the web.

The trust root is a file beside the signing key, which the web process may not be able to read: in Compose only the
worker mounts that folder. So each checkpoint's row names its key. Anyone who can change the database can change such a
row, so the name is used only if that key's signature is on the note. To know that it is the right key, the reader
compares it with the copy that they were given.
"""

from collections.abc import Sequence

from alerts_audit.models import Checkpoint
from alerts_audit.seal import keys
from alerts_audit.seal.standalone import Invalid, Note, PublicKey


def trust_root() -> list[PublicKey]:
    """Return the trust root, oldest key first. Empty before the first checkpoint, or if the file cannot be read."""
    try:
        return keys.public_keys()
    except (Invalid, OSError):
        return []


def get_signers(checkpoints: Sequence[Checkpoint]) -> dict[int, str | None]:
    """Return the signer by the checkpoint's number; None if the key is unknown here or its signature is false."""
    known = [*trust_root(), *filter(None, map(_named, checkpoints))]
    return {checkpoint.pk: _signer(checkpoint, known) for checkpoint in checkpoints}


def _named(checkpoint: Checkpoint) -> PublicKey | None:
    try:
        return PublicKey.parse(checkpoint.public_key or "")
    except Invalid:
        return None


def _signer(checkpoint: Checkpoint, known: Sequence[PublicKey]) -> str | None:
    """Return the signer. Of two signatures, as in a rotation, prefer the key that the row names."""
    try:
        return str(Note.parse(checkpoint.note).signer(key for key in known if key.id.hex() == checkpoint.key_id))
    except Invalid:
        return None
