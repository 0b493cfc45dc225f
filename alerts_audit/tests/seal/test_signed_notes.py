"""Checkpoints are signed notes, and only what a trusted key signed is believed."""

import base64
from datetime import UTC, datetime

import pytest

from alerts_audit.seal.signed_notes import SigningKey, checkpoint_note, new_key
from alerts_audit.seal.standalone import Invalid, Note, PublicKey, read_keys, read_notes, trusted_keys

AT = datetime(2026, 11, 22, 16, 57, 14, 123456, tzinfo=UTC)
ROOT = bytes(range(32))
KEY = SigningKey("alert-trail/0123abcd", bytes(range(32)))
OTHER = SigningKey("alert-trail/0123abcd", bytes(range(1, 33)))


def note(**options) -> str:
    return checkpoint_note(KEY, 7, ROOT, AT, **options)


def test_a_checkpoint_reads_as_c2sp_says():
    lines = note().split("\n")

    assert lines[:5] == [
        "alert-trail/0123abcd",
        "7",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "time 2026-11-22T16:57:14.123456Z",
        "",
    ]
    assert lines[5].startswith("— alert-trail/0123abcd ")
    assert len(base64.b64decode(lines[5].rpartition(" ")[2])) == 4 + 64
    assert lines[6:] == [""]


def test_a_checkpoint_comes_back_as_it_was_written():
    read = Note.parse(note(extensions=["archive 0 5 ab"]))

    assert (read.origin, read.size, read.root) == ("alert-trail/0123abcd", 7, ROOT)
    assert read.extensions == ("time 2026-11-22T16:57:14.123456Z", "archive 0 5 ab")
    assert read.signer([OTHER.public, KEY.public]) == KEY.public


def test_the_key_of_go_s_own_example_is_read():
    """From the documentation of golang.org/x/mod/sumdb/note."""
    key = PublicKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    message = (
        "If you think cryptography is the answer to your problem,\n"
        "then you don't know what your problem is.\n"
        "\n"
        "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    )
    text, _, signatures = message.rpartition("\n\n")
    name, data = signatures.split()[1:]
    signed = Note(f"{text}\n", ((name, base64.b64decode(data)),), name, 0, ROOT, ())

    assert signed.signer([key]) == key


def test_a_signing_key_comes_back_and_hides_itself():
    key = new_key()

    assert SigningKey.parse(f"{key.text()}\n") == key
    assert base64.b64encode(key.seed).decode() not in repr(key)


@pytest.mark.parametrize("text", ["", "no key", KEY.text()[:-8], KEY.text().replace("abcd", "abce"), str(KEY.public)])
def test_a_malformed_signing_key_is_refused_and_not_quoted(text):
    with pytest.raises(Invalid, match="not a signing key") as caught:
        SigningKey.parse(text)

    assert not text or text not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "name+00000000+AAAA", str(KEY.public)[:-4], str(KEY.public).replace("abcd", "abce")]
)
def test_a_malformed_public_key_is_refused(text):
    with pytest.raises(Invalid):
        PublicKey.parse(text)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n7\n", "\n8\n"),
        lambda text: text.replace("AAEC", "AAED"),
        lambda text: text.replace("16:57", "16:58"),
        lambda text: text.replace("\n\n", "\nextra\n\n"),
    ],
    ids=["size", "root", "time", "line"],
)
def test_a_changed_checkpoint_has_a_false_signature(change):
    with pytest.raises(Invalid, match="false"):
        Note.parse(change(note())).signer([KEY.public])


def test_a_checkpoint_of_another_key_is_refused():
    with pytest.raises(Invalid, match="no key that is trusted"):
        Note.parse(note()).signer([OTHER.public])


def test_a_checkpoint_of_another_log_is_refused():
    with pytest.raises(Invalid, match="no key that is trusted"):
        Note.parse(note().replace("alert-trail/0123abcd\n7", "another\n7")).signer([KEY.public])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "a\n7\n\n— a AAAA\n",
        note().replace("\n7\n", "\n07\n"),
        note().replace("\n7\n", "\n-7\n"),
        note().replace("\n7\n", "\nx\n"),
        note().replace("AAEC", "AA"),
        note().rstrip("\n"),
        note().replace("—", "-"),
        note().replace("\n\n", "\n\n\n"),
    ],
)
def test_a_malformed_checkpoint_is_refused(text):
    with pytest.raises(Invalid):
        Note.parse(text)


def test_a_handover_is_signed_by_both_keys():
    handover = Note.parse(note(next_key=OTHER))

    assert handover.next_key == OTHER.public
    assert handover.signer([KEY.public]) == KEY.public
    assert handover.signer([OTHER.public]) == OTHER.public


def test_a_key_is_trusted_if_a_trusted_one_hands_over_to_it():
    assert trusted_keys([KEY.public], [Note.parse(note(next_key=OTHER))]) == [KEY.public, OTHER.public]


def test_a_key_that_vouches_for_itself_is_not_trusted():
    third = new_key("alert-trail/0123abcd")
    handover = Note.parse(checkpoint_note(OTHER, 7, ROOT, AT, next_key=third))

    with pytest.raises(Invalid, match="no key that is trusted"):
        trusted_keys([KEY.public], [handover])


def test_comments_in_a_file_of_keys_are_left_out():
    assert read_keys(f"# ours\n\n{KEY.public}\n") == [KEY.public]


def test_a_file_without_keys_is_refused():
    with pytest.raises(Invalid, match="no public key"):
        read_keys("# none\n")


def test_a_file_may_hold_one_note():
    assert [read.size for read in read_notes(note())] == [7]
