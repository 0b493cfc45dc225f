"""The signer of a checkpoint is known without the folder that only the worker can read."""

from django.test import override_settings

from alerts_audit.models import Checkpoint
from alerts_audit.seal.rotation import rotate
from alerts_audit.seal.sealer import seal
from alerts_audit.seal.signer_lookup import get_signers
from alerts_audit.seal.standalone import Note, PublicKey
from alerts_audit.tests.seal.trails import Trail


def test_each_checkpoint_names_its_key_before_and_after_a_change_of_keys(new_trail: Trail, tmp_path):
    with new_trail.used():
        seal()
        new = rotate()
        seal()
        rows = list(Checkpoint.objects.order_by("id"))
        with override_settings(AUDIT_DIR=tmp_path / "elsewhere"):
            found = get_signers(rows)

    keys = [PublicKey.parse(found[row.pk] or "") for row in rows]
    assert [key.id.hex() for key in keys] == [row.key_id for row in rows]
    assert keys[0] != new.public
    assert keys[-1] == new.public
    for row, key in zip(rows, keys, strict=True):
        Note.parse(row.note).signer([key])
