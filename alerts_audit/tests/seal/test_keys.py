"""Keys lie outside the database, for their owner alone; a new one is vouched for by the one before."""

import stat
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from alerts_audit.seal import keys, rotation
from alerts_audit.seal.keys import SealError, public_keys
from alerts_audit.seal.rotation import replace_lost, rotate
from alerts_audit.seal.sealer import seal
from alerts_audit.seal.standalone import Invalid, Note, read_notes, trusted_keys
from alerts_audit.tests.seal.trails import Trail, make_gap


def test_the_first_run_makes_a_key_for_its_owner_alone(new_trail: Trail):
    new_trail.seal()

    assert stat.S_IMODE((new_trail.directory / "signing_key").stat().st_mode) == 0o600
    assert stat.S_IMODE(new_trail.directory.stat().st_mode) & 0o077 == 0
    assert (new_trail.directory / "signing_key").read_text().startswith("PRIVATE+KEY+alert-trail/")


def test_a_key_that_was_given_is_used_and_trusted(new_trail: Trail, trail: Trail):
    given = trail.directory / "signing_key"
    with new_trail.used(), override_settings(AUDIT_SIGNING_KEY_FILE=str(given)):
        checkpoint = seal()

        assert [key.id.hex() for key in public_keys()] == [checkpoint.key_id]
    assert not (new_trail.directory / "signing_key").exists()


def test_a_key_file_that_was_named_must_be_there(new_trail: Trail, tmp_path):
    named = override_settings(AUDIT_SIGNING_KEY_FILE=str(tmp_path / "none"))
    with new_trail.used(), named, pytest.raises(SealError, match="There is no signing key"):
        seal()


def test_a_spoilt_key_file_is_refused_without_quoting_it(trail: Trail):
    (trail.directory / "signing_key").write_text("PRIVATE+KEY+secret")

    with pytest.raises(SealError, match="cannot be used") as caught:
        trail.seal()

    assert "secret" not in str(caught.value)


def test_after_a_rotation_the_new_key_signs_and_the_old_root_still_verifies(trail: Trail):
    [(old,)] = trail.query("SELECT DISTINCT key_id FROM alerts_audit_checkpoint")
    with trail.used():
        new = rotate()
        make_gap()
        checkpoint = seal()

        assert checkpoint.key_id == new.public.id.hex() != old
        assert [key.id.hex() for key in public_keys()] == [old]
    assert not (trail.directory / "signing_key.next").exists()
    assert trail.found() == []


def test_keys_can_be_changed_again_and_again(trail: Trail):
    with trail.used():
        signers = {rotate().public.id.hex() for _ in range(3)}
        seal()

    assert len(signers) == 3
    assert trail.found() == []


def test_a_window_after_a_rotation_knows_the_new_key(trail: Trail):
    with trail.used():
        rotate()
        at = seal().at
        make_gap()
        seal()

    assert trail.found(since=at) == []


def test_a_reader_of_the_file_trusts_the_new_key_too(trail: Trail):
    with trail.used():
        new = rotate()
        notes = list(read_notes(trail.checkpoints.read_text()))

        assert new.public in trusted_keys(public_keys(), notes)


@pytest.mark.parametrize("step", ["seal", "keys.signing_key"])
def test_the_next_run_completes_an_interrupted_rotation(trail: Trail, monkeypatch, step):
    calls = []

    def dies(*arguments, **options):
        calls.append(1)
        if step == "seal" and len(calls) == 1:
            return seal(*arguments, **options)
        raise KeyboardInterrupt

    with trail.used():
        with monkeypatch.context() as crash:
            crash.setattr(rotation if step == "seal" else keys, step.rpartition(".")[2], dies)
            with pytest.raises(KeyboardInterrupt):
                rotate()
        seal()
        rotate()
        seal()
    assert trail.found() == []


def test_a_checkpoint_by_a_retired_key_is_a_finding(trail: Trail):
    from alerts_audit.seal.signed_notes import SigningKey, checkpoint_note

    old = SigningKey.parse((trail.directory / "signing_key").read_text())
    with trail.used():
        rotate()
        last = seal()
    forged = checkpoint_note(old, last.size, bytes(last.root), last.at)
    trail.tamper("UPDATE alerts_audit_checkpoint SET note = %s WHERE id = %s", values=(forged, last.pk))

    assert ("checkpoint_signature", f"checkpoint {last.pk}") in trail.found()


def test_a_lost_key_is_replaced_by_one_that_joins_the_root(trail: Trail, tmp_path):
    pinned = tmp_path / "pinned"
    pinned.write_bytes((trail.directory / "public_keys").read_bytes())
    (trail.directory / "signing_key").unlink()
    with trail.used():
        new = replace_lost()
        last = seal()

        assert new.public in public_keys()
        assert Note.parse(last.note).origin == new.name
    report = trail.verify()
    assert report.ok
    assert report.remarks == ["The trust root has 2 keys, each of which may sign anything: compare it with your copy."]
    assert trail.found(key_file=pinned) == [
        ("checkpoint_signature", f"checkpoint {last.pk}"),
    ]


def test_a_key_that_is_there_is_not_lost(trail: Trail):
    with trail.used(), pytest.raises(SealError, match="is not lost"):
        replace_lost()


def test_nothing_can_be_lost_before_the_beginning(new_trail: Trail):
    with new_trail.used(), pytest.raises(SealError, match="Nothing was sealed yet"):
        replace_lost()


def test_the_command_shows_the_root_and_the_signer(trail: Trail):
    with trail.used():
        new = rotate()
        out = StringIO()
        call_command("audit_key", "show", stdout=out)

        for key in (*public_keys(), new.public):
            assert str(key) in out.getvalue()
    assert "PRIVATE" not in out.getvalue()


def test_the_command_names_the_new_signer_after_a_rotated_key_was_lost(trail: Trail):
    with trail.used():
        rotate()
        seal()
        (trail.directory / "signing_key").unlink()
        new = replace_lost()
        out = StringIO()
        call_command("audit_key", "show", stdout=out)
        seal()
        call_command("audit_key", "show", stdout=out)

    assert out.getvalue().count(f"The key that signs now:\n  {new.public}\n") == 2


def test_the_command_says_what_is_missing(new_trail: Trail):
    with new_trail.used(), pytest.raises(CommandError, match="no trust root"):
        call_command("audit_key", "show")


def test_a_root_without_keys_is_refused(tmp_path):
    file = tmp_path / "keys"
    file.write_text("# nothing\n")

    with pytest.raises(Invalid, match="no public key"):
        public_keys(file)
