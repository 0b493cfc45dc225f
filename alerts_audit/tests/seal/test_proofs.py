"""One delivery's proof is checked by one file, without Django and without the database."""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from alerts_audit.models import Checkpoint, Delivery, Leaf
from alerts_audit.seal import standalone
from alerts_audit.seal.archive.archive import archive
from alerts_audit.seal.canonical import KINDS
from alerts_audit.seal.keys import public_keys
from alerts_audit.seal.merkle import Frontier, consistency_proof, inclusion_proof, known_nodes
from alerts_audit.seal.proofs import NoProof, prove, prove_from_archive
from alerts_audit.seal.rotation import rotate
from alerts_audit.seal.sealer import seal
from alerts_audit.seal.signed_notes import SigningKey, checkpoint_note
from alerts_audit.tests.payloads import alertmanager_body
from alerts_audit.tests.seal.trails import Trail, make_delivery

pytestmark = pytest.mark.processes


def check(directory: Path, *arguments: object) -> tuple[int, str]:
    """The exit code of the one file, copied somewhere and run by a Python that knows nothing of the project."""
    program = shutil.copy(standalone.__file__, directory / "verifier.py")
    environment = {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-P", program, *map(str, arguments)],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def proof(sealed: Trail, tmp_path) -> Path:
    """Return the proof of delivery 3."""
    file = tmp_path / "proof.json"
    with sealed.used():
        call_command("prove_delivery", "3", out=file)
    return file


def test_a_proof_convinces_a_stranger(sealed: Trail, proof, tmp_path):
    body = tmp_path / "body"
    body.write_bytes(alertmanager_body("Alert1"))

    code, said = check(
        tmp_path, proof, "--key", sealed.directory / "public_keys", "--checkpoint", sealed.checkpoints, "--body", body
    )

    assert (code, said.startswith("TRUE: delivery 3 is leaf 9;")) == (0, True)
    assert "byte for byte" in said


def test_the_checkpoint_inside_will_do(sealed: Trail, proof, tmp_path):
    assert check(tmp_path, proof, "--key", sealed.directory / "public_keys")[0] == 0


def test_it_runs_as_a_module_too(sealed: Trail, proof):
    command = [sys.executable, "-m", "alerts_audit.seal.standalone", str(proof), "--key"]
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}

    done = subprocess.run(
        [*command, str(sealed.directory / "public_keys")], env=environment, check=False, capture_output=True
    )

    assert done.returncode == 0


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_of_every_kind_can_be_proven(sealed: Trail, kind):
    with sealed.used():
        keys = standalone.read_keys((sealed.directory / "public_keys").read_text())
        for leaf in Leaf.objects.filter(kind=kind):
            found = standalone.Proof.parse(json.dumps(prove(kind, leaf.ref)))

            assert found.index == leaf.number
            assert found.check(keys)


def test_a_proof_in_a_later_checkpoint_is_made_if_asked_for(sealed: Trail, tmp_path):
    kept = tmp_path / "kept"
    kept.write_text(sealed.query("SELECT note FROM alerts_audit_checkpoint WHERE id = 4")[0][0])
    file = tmp_path / "proof.json"
    with sealed.used():
        call_command("prove_delivery", "3", out=file, size=28)

    assert check(tmp_path, file, "--key", sealed.directory / "public_keys", "--checkpoint", kept)[0] == 0


def test_a_proof_after_a_rotation_needs_the_file_with_the_handover(trail: Trail, tmp_path):
    file, root = tmp_path / "proof.json", trail.directory / "public_keys"
    with trail.used():
        rotate()
        delivery = make_delivery()
        seal()
        call_command("prove_delivery", str(delivery.pk), out=file)

    assert check(tmp_path, file, "--key", root)[0] == 1
    assert check(tmp_path, file, "--key", root, "--checkpoint", trail.checkpoints)[0] == 0


def forged(key: SigningKey, before: Checkpoint, leaf: dict[str, Any]) -> dict[str, Any]:
    """Return what the finder of a key can make: one more leaf on a log that he knows."""
    index, size = before.size, before.size + 1
    frontier, added = Frontier(before.size, before.frontier), [standalone.leaf_hash(standalone.encode(leaf))]
    nodes = known_nodes(frontier, added)
    frontier.extend(added)
    return {
        "format": standalone.PROOF_FORMAT,
        "leaf": leaf,
        "index": index,
        "path": [node.hex() for node in inclusion_proof(index, size, nodes)],
        "checkpoint": checkpoint_note(key, size, frontier.root(), datetime.now(UTC)),
        "grown_from": before.size,
        "growth": [node.hex() for node in consistency_proof(before.size, size, nodes)],
    }


def test_a_key_that_was_found_after_its_rotation_proves_nothing_new(trail: Trail, tmp_path):
    file, root = tmp_path / "proof.json", trail.directory / "public_keys"
    leaked = SigningKey.parse((trail.directory / "signing_key").read_text())
    with trail.used():
        call_command("prove_delivery", "3", out=file)
        honest = json.loads(file.read_text())
        rotate()
        handover = Checkpoint.objects.get(note__contains=standalone.NEXT_KEY)
        for _ in range(2):
            make_delivery()
        seal()
    assert check(tmp_path, file, "--key", root, "--checkpoint", trail.checkpoints)[0] == 0

    file.write_text(
        json.dumps(forged(leaked, handover, {**honest["leaf"], "row": {**honest["leaf"]["row"], "id": 99}}))
    )
    code, said = check(tmp_path, file, "--key", root, "--checkpoint", trail.checkpoints)

    assert (code, "handed over to another key" in said) == (1, True)


def test_a_new_key_that_is_trusted_itself_is_not_the_one_that_handed_over(trail: Trail, tmp_path):
    file, new = tmp_path / "proof.json", tmp_path / "new_key"
    with trail.used():
        new.write_text(f"{rotate().public}\n")
        handover = Checkpoint.objects.get(note__contains=standalone.NEXT_KEY)
        kept = tmp_path / "kept"
        kept.write_text(handover.note)
        delivery = make_delivery()
        seal()
        call_command("prove_delivery", str(delivery.pk), out=file, size=handover.size)

    assert check(tmp_path, file, "--key", new, "--checkpoint", kept)[0] == 0


def test_an_older_checkpoint_is_shown_to_be_the_beginning_of_the_log(sealed: Trail, tmp_path):
    kept, file = tmp_path / "kept", tmp_path / "proof.json"
    kept.write_text(sealed.query("SELECT note FROM alerts_audit_checkpoint WHERE id = 1")[0][0])
    with sealed.used():
        call_command("prove_delivery", "5", out=file, size=9)

    code, said = check(tmp_path, file, "--key", sealed.directory / "public_keys", "--checkpoint", kept)

    assert (code, "begins with the 9 leaves of the checkpoint you kept" in said) == (0, True)


def test_a_history_that_does_not_extend_an_older_checkpoint_is_false(sealed: Trail, tmp_path):
    with sealed.used():
        found = prove("delivery", 5, size=9)
        keys = public_keys()
    old = standalone.Note.parse(sealed.query("SELECT note FROM alerts_audit_checkpoint WHERE id = 1")[0][0])
    found["growth"][0] = bytes(32).hex()

    with pytest.raises(standalone.Invalid, match="does not begin with that of 9"):
        standalone.Proof.parse(json.dumps(found)).check(keys, [old])


def test_a_history_that_forks_before_the_largest_checkpoint_kept_is_false(sealed: Trail):
    """The finder of the present key chooses where the false history begins."""
    key = SigningKey.parse((sealed.directory / "signing_key").read_text())
    kept = standalone.read_notes(sealed.checkpoints.read_text())
    with sealed.used():
        honest, first, keys = prove("delivery", 3), Checkpoint.objects.get(pk=1), public_keys()
    false = standalone.Proof.parse(
        json.dumps(forged(key, first, {**honest["leaf"], "row": {**honest["leaf"]["row"], "id": 99}}))
    )
    assert false.note.size not in {note.size for note in kept}

    with pytest.raises(standalone.Invalid, match="the largest of which is of 28"):
        false.check(keys, kept)


def test_a_proof_of_a_size_between_the_checkpoints_kept_asks_for_the_largest(sealed: Trail):
    kept = standalone.read_notes(sealed.checkpoints.read_text())
    with sealed.used():
        between, largest = prove("delivery", 3, size=9), prove("delivery", 3, size=28)
        keys = public_keys()

    with pytest.raises(standalone.Invalid, match="the largest of which is of 28: ask for a proof of that size"):
        standalone.Proof.parse(json.dumps(between)).check(keys, [kept[0], kept[-1]])
    assert standalone.Proof.parse(json.dumps(largest)).check(keys, [kept[0], kept[-1]])


def test_a_copy_of_the_file_that_is_older_than_the_delivery_will_do(trail: Trail):
    kept = standalone.read_notes(trail.checkpoints.read_text())
    with trail.used():
        delivery = make_delivery()
        seal()
        found = prove("delivery", delivery.pk, size=kept[-1].size)

        said = standalone.Proof.parse(json.dumps(found)).check(public_keys(), kept)

    assert "begins with the 28 leaves of the checkpoint you kept" in said


CHANGES = {
    "the row": (lambda proof: proof["leaf"]["row"].update(source="eve"), "does not lead"),
    "the number": (lambda proof: proof.update(index=10), "does not lead"),
    "a number that cannot be": (lambda proof: proof.update(index=99), "cannot be among"),
    "the path": (lambda proof: proof["path"].reverse(), "does not lead"),
    "a shorter path": (lambda proof: proof["path"].pop(), "too short|does not lead"),
    "the checkpoint": (lambda proof: proof.update(checkpoint=proof["checkpoint"].replace("time 2", "time 3")), "false"),
    "another format": (lambda proof: proof.update(format="x"), "format"),
    "half a surrogate pair": (lambda proof: proof["leaf"]["row"].update(source="\ud800"), "no proof"),
    "nothing": (lambda proof: proof.clear(), "no proof"),
}


@pytest.mark.parametrize(("change", "said"), CHANGES.values(), ids=CHANGES)
def test_a_changed_proof_is_false(sealed: Trail, proof, change, said):
    content = json.loads(proof.read_text())
    change(content)
    keys = standalone.read_keys((sealed.directory / "public_keys").read_text())

    with pytest.raises(standalone.Invalid, match=said):
        standalone.Proof.parse(json.dumps(content)).check(keys)


def test_another_body_is_false(sealed: Trail, proof, tmp_path):
    body = tmp_path / "body"
    body.write_bytes(alertmanager_body("Alert2"))

    code, said = check(tmp_path, proof, "--key", sealed.directory / "public_keys", "--body", body)

    assert (code, "the body's SHA-256 is" in said) == (1, True)


def test_another_key_is_false(proof, new_trail: Trail, tmp_path):
    new_trail.seal()

    code, said = check(tmp_path, proof, "--key", new_trail.directory / "public_keys")

    assert (code, "no key that is trusted" in said) == (1, True)


def test_a_checkpoint_of_another_history_is_false(sealed: Trail, proof, tmp_path):
    key = SigningKey.parse((sealed.directory / "signing_key").read_text())
    kept = tmp_path / "kept"
    kept.write_text(checkpoint_note(key, 19, bytes(32), datetime.now(UTC)))

    code, said = check(tmp_path, proof, "--key", sealed.directory / "public_keys", "--checkpoint", kept)

    assert (code, "two histories" in said) == (1, True)


def test_a_checkpoint_of_another_size_asks_for_another_proof(sealed: Trail, proof, tmp_path):
    kept = tmp_path / "kept"
    kept.write_text(sealed.query("SELECT note FROM alerts_audit_checkpoint WHERE id = 4")[0][0])

    code, said = check(tmp_path, proof, "--key", sealed.directory / "public_keys", "--checkpoint", kept)

    assert (code, "ask for a proof of that size" in said) == (1, True)


@pytest.mark.parametrize("content", ["{}", '{"note": "none"}\n{"note": 1}', ""])
def test_a_file_without_a_checkpoint_vouches_for_nothing(sealed: Trail, proof, tmp_path, content):
    kept = tmp_path / "kept"
    kept.write_text(content)

    code, said = check(tmp_path, proof, "--key", sealed.directory / "public_keys", "--checkpoint", kept)

    assert (code, "FALSE: " in said, "checkpoint" in said) == (1, True, True)


def test_a_proof_that_is_nested_too_deeply_is_none(sealed: Trail, tmp_path):
    bomb = tmp_path / "bomb"
    bomb.write_text("[" * 100_000)

    assert check(tmp_path, bomb, "--key", sealed.directory / "public_keys") == (1, "FALSE: this is no proof.\n")


def test_a_file_that_is_not_there_is_not_a_lie(sealed: Trail, proof, tmp_path):
    assert check(tmp_path, proof, "--key", tmp_path / "none")[0] == 2


# --- Where there is no proof ---------------------------------------------------------------------------------------


def test_a_delivery_that_is_not_sealed_has_none(trail: Trail):
    with trail.used(), pytest.raises(NoProof, match="not sealed yet"):
        prove("delivery", make_delivery().pk)


def test_a_delivery_that_never_was_has_none(sealed: Trail):
    with sealed.used(), pytest.raises(CommandError, match="no delivery 999 here"):
        call_command("prove_delivery", "999", stdout=StringIO())


def test_a_delivery_that_was_changed_has_none(trail: Trail):
    trail.tamper("UPDATE alerts_audit_delivery SET source = 'eve' WHERE id = 3")

    with trail.used(), pytest.raises(NoProof, match="run verify_audit"):
        prove("delivery", 3)


def test_a_delivery_that_was_removed_has_none(trail: Trail):
    trail.tamper("DELETE FROM alerts_audit_delivery WHERE id = 3")

    with trail.used(), pytest.raises(NoProof, match="sealed as leaf 9, but missing"):
        prove("delivery", 3)


def test_there_is_no_proof_for_a_checkpoint_that_never_was(sealed: Trail):
    with sealed.used(), pytest.raises(NoProof, match="no checkpoint of 5 leaves"):
        prove("delivery", 3, size=5)


def test_an_archived_delivery_is_proven_from_its_file(trail: Trail, tmp_path):
    [(before,)] = trail.query("SELECT at FROM alerts_audit_checkpoint WHERE id = 3")
    file = tmp_path / "proof.json"
    with trail.used():
        done = archive(before=before, directory=tmp_path, by="ann", progress=lambda *_: None)
        assert not Delivery.objects.filter(pk=3).exists()
        call_command("prove_delivery", "3", out=file, archive=tmp_path / done.archive.file_name)

    assert check(tmp_path, file, "--key", trail.directory / "public_keys", "--checkpoint", trail.checkpoints)[0] == 0


@pytest.mark.parametrize(("size", "said"), [(28, "as in the checkpoint you kept"), (9, "begins with the 9 leaves")])
def test_an_archived_delivery_is_proven_to_a_reader_with_one_checkpoint(trail: Trail, tmp_path, size, said):
    """Delivery 3 is leaf 9, and the archive has the checkpoints of 9, 19 and 28 leaves."""
    kept = [note for note in standalone.read_notes(trail.checkpoints.read_text()) if note.size == size]
    out = StringIO()
    with trail.used():
        done = archive(before=datetime.now(UTC), directory=tmp_path, by="ann", progress=lambda *_: None)
        call_command("prove_delivery", "3", archive=tmp_path / done.archive.file_name, size=size, stdout=out)

        assert said in standalone.Proof.parse(out.getvalue()).check(public_keys(), kept)


def test_an_archive_proves_nothing_in_a_checkpoint_that_it_does_not_have(trail: Trail, tmp_path):
    with trail.used():
        done = archive(before=datetime.now(UTC), directory=tmp_path, by="ann", progress=lambda *_: None)
        with pytest.raises(NoProof, match="no checkpoint of 20 leaves in"):
            prove_from_archive(tmp_path / done.archive.file_name, "delivery", 3, size=20)


def test_a_delivery_that_is_not_in_the_file_is_not_proven_from_it(trail: Trail, tmp_path):
    [(before,)] = trail.query("SELECT at FROM alerts_audit_checkpoint WHERE id = 3")
    with trail.used():
        done = archive(before=before, directory=tmp_path, by="ann", progress=lambda *_: None)
        with pytest.raises(CommandError, match="is not in"):
            call_command("prove_delivery", "6", archive=tmp_path / done.archive.file_name, stdout=StringIO())


def test_a_row_that_an_archive_kept_is_proven_from_its_file(trail: Trail, tmp_path):
    [(before,)] = trail.query("SELECT at FROM alerts_audit_checkpoint WHERE id = 3")
    with trail.used():
        done = archive(before=before, directory=tmp_path, by="ann", progress=lambda *_: None)
        with pytest.raises(NoProof, match="name its archive"):
            prove("review", 1)
        found = prove_from_archive(tmp_path / done.archive.file_name, "review", 1)

        assert standalone.Proof.parse(json.dumps(found)).check(public_keys())
