"""Rotation of the signing key.

The old key signs a checkpoint that names the new key. From then on only the new key counts. The new key stays in
`signing_key.next` until that checkpoint is committed and published. After a crash the next run of the sealer installs
it.
"""

import os
import time
from pathlib import Path

from alerts_audit.models import Checkpoint
from alerts_audit.seal import keys
from alerts_audit.seal.sealer import seal
from alerts_audit.seal.signed_notes import SigningKey, new_key
from alerts_audit.seal.standalone import NEXT_KEY, Invalid, Note, PublicKey
from fintech.secret_files import write_secret


class Trust:
    """The trusted keys: the trust root, until one of its keys hands over to the next."""

    def __init__(self, roots: list[PublicKey]) -> None:
        self.active = list(roots)

    def check(self, note: Note) -> PublicKey:
        """Return the signer of a checkpoint, or raise Invalid. One that hands over ends the old key."""
        signer = note.signer(self.active)
        if (following := note.next_key) is not None:
            note.signer([following])
            # A key of the trust root stays where it is: those after it joined later, when it was lost.
            added = [following] if following not in self.active else []
            self.active = [key for key in self.active if key != signer] + added
        return signer

    def replay(self, *, before: int) -> None:
        """Replay the key rotations in the checkpoints below this id."""
        changes = Checkpoint.objects.filter(pk__lt=before, note__contains=f"\n{NEXT_KEY}").order_by("id")
        for note in changes.values_list("note", flat=True):
            try:
                self.check(Note.parse(note))
            except Invalid:
                continue  # a full verification reports it; here it is only not trusted


def rotate() -> SigningKey:
    """Hand over to a new key and return it. Raise SealError if the log cannot be sealed now."""
    last = seal()
    following = keys.make_next_key(Note.parse(last.note).origin)
    handover = seal(next_key=following)
    keys.signing_key(last=Note.parse(handover.note))
    return following


def replace_lost() -> SigningKey:
    """Continue with a new key that no earlier key vouches for: it joins the trust root.

    People who trust a copy of the old root must be informed; otherwise their verification reports the change.
    """
    last = Checkpoint.objects.order_by("-id").first()
    if last is None:
        raise keys.SealError("Nothing was sealed yet: the first run of the sealer makes a key.")
    trust = Trust(keys.public_keys())
    trust.replay(before=last.pk + 1)
    file = keys.signing_key_file()
    if (found := _readable(file)) is not None and found.public in trust.active:
        raise keys.SealError(f"The key in {file} is not lost: use audit_key rotate.")
    following = new_key(Note.parse(last.note).origin)
    for key in (*trust.active, following.public):
        if key not in keys.public_keys():
            keys.trust(key)
    if file.exists():
        os.replace(file, file.with_name(f"{file.name}.{int(time.time())}"))
    write_secret(file, following.text())
    return following


def _readable(file: Path) -> SigningKey | None:
    try:
        return keys.read_signing_key(file)
    except keys.SealError:
        return None
