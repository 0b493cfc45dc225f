"""Every row of evidence gets one leaf, however late it is committed, and every root is signed and published."""

import hashlib

from alerts_audit.models import Delivery, Leaf
from alerts_audit.seal.anchor import CheckpointFile
from alerts_audit.seal.keys import public_keys
from alerts_audit.seal.sealer import seal
from alerts_audit.seal.standalone import Note


def make_delivery(body: bytes = b"{}") -> Delivery:
    return Delivery.objects.create(source="seal", body=body, sha256=hashlib.sha256(body).digest(), size=len(body))


def test_a_delivery_gets_a_leaf():
    delivery = make_delivery()

    checkpoint = seal()

    leaf = Leaf.objects.get(kind="delivery", ref=delivery.pk)
    assert leaf.number < checkpoint.size


def test_sealing_again_signs_the_same_leaves_anew():
    make_delivery()
    first, second = seal(), seal()

    assert (second.size, bytes(second.root)) == (first.size, bytes(first.root))
    assert second.pk > first.pk
    assert second.at > first.at


def test_a_checkpoint_is_signed_by_a_key_of_the_trust_root():
    checkpoint = seal()

    note = Note.parse(checkpoint.note)

    assert note.signer(public_keys()).id.hex() == checkpoint.key_id
    assert (note.size, note.root) == (checkpoint.size, bytes(checkpoint.root))


def test_a_checkpoint_is_in_the_file():
    checkpoint = seal()

    last = CheckpointFile().last()

    assert (last.id, last.note) == (checkpoint.pk, checkpoint.note)
