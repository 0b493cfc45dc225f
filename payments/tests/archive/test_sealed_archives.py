"""An archive's file that was altered, truncated, swapped or renamed is refused, also by people without the database."""

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from alerts_audit.seal import standalone
from alerts_audit.seal.archive.archive import archive as archive_trail
from alerts_audit.seal.proofs import NoProof, prove
from alerts_audit.seal.sealer import seal
from alerts_audit.seal.verify import verify
from fintech import archive_files
from payments.archive import files
from payments.models import Archive, Transaction
from payments.tests.archive.books import Books, refund


@pytest.fixture
def two(books: Books) -> tuple[Books, Path, Path]:
    """Return books with two archives, and their files."""
    books.archive()
    with books.used():
        refund(Transaction.objects.get(pk=books.payments[1]), 300)
    books.come_to_rest()
    books.archive()
    first, second = books.files()
    return books, first, second


def forge(path: Path, copy: Path) -> Path:
    """Write the file with another actor, and with an end that agrees with it."""
    header, contents = files.check(path)
    units = (line.replace(b'"actor": "api"', b'"actor": "eve"') for line, _ in files.units(path))
    files.write(copy, header, units)
    assert files.check(copy)[1].as_json() != contents.as_json()
    return copy


def refusal(books: Books, path: Path) -> str:
    with books.used(), pytest.raises(CommandError) as refused:
        call_command("archive_payments", "--verify", str(path), stdout=StringIO())
    return str(refused.value)


# --- Against the record ------------------------------------------------------------------------------------------


def test_a_file_that_was_altered_consistently_is_refused(two, tmp_path):
    books, first, _ = two
    forged = forge(first, tmp_path / first.name)
    found, expected = (archive_files.file_sha256(path).hex() for path in (forged, first))

    assert refusal(books, forged) == f"{forged} was altered: its SHA-256 is {found}, and archive 1 has {expected}."


def test_a_file_with_bytes_after_its_end_is_refused(two, tmp_path):
    books, first, _ = two
    longer = tmp_path / first.name
    longer.write_bytes(first.read_bytes() + archive_files.gzip.compress(b""))

    assert "was altered" in refusal(books, longer)


def test_a_truncated_file_is_refused(two, tmp_path):
    books, first, _ = two
    shorter = tmp_path / first.name
    shorter.write_bytes(first.read_bytes()[:-200])

    assert "cannot be read to its end" in refusal(books, shorter)


def test_swapped_files_are_refused(two, tmp_path):
    books, first, second = two
    swapped = tmp_path / second.name
    swapped.write_bytes(first.read_bytes())

    assert refusal(books, swapped) == (
        f"{swapped} was renamed: it is the file {first.name} of archive 1, not of archive 2."
    )


def test_a_renamed_file_is_refused(two, tmp_path):
    books, first, _ = two
    renamed = tmp_path / "payments.jsonl.gz"
    renamed.write_bytes(first.read_bytes())

    assert refusal(books, renamed) == f"{renamed} was renamed: it is the file {first.name} of archive 1."


def test_a_payment_is_not_printed_from_an_altered_file(two, tmp_path):
    books, first, _ = two
    forged = forge(first, tmp_path / first.name)

    with books.used(), pytest.raises(CommandError, match="was altered"):
        call_command("archive_payments", "--find", str(books.payments[0]), "--file", str(forged), stdout=StringIO())


# --- Against the seal --------------------------------------------------------------------------------------------


def found(books: Books) -> list[tuple[str, str]]:
    with books.used():
        return [(finding.code, finding.subject) for finding in verify(projection=False).findings]


def test_a_record_that_was_changed_with_its_file_is_found(books: Books, tmp_path):
    books.archive()
    (path,) = books.files()
    with books.used():
        seal()
    assert found(books) == []
    forged = forge(path, tmp_path / path.name)

    books.tamper("UPDATE payments_archive SET file_sha256 = %s", archive_files.file_sha256(forged))

    with books.used():
        call_command("archive_payments", "--verify", str(forged), stdout=StringIO())
    assert found(books) == [("row_changed", "payments_archive 1")]


def test_a_record_that_was_removed_is_found(books: Books):
    books.archive()
    with books.used():
        seal()

    books.tamper("DELETE FROM payments_archive")

    assert found(books) == [("row_missing", "payments_archive 1")]


def test_a_record_that_is_not_sealed_is_not_proven(books: Books):
    books.archive()

    with books.used(), pytest.raises(NoProof, match="Payments_archive 1 is not sealed yet"):
        prove("payments_archive", 1)


def test_an_archive_of_the_trail_keeps_the_records_of_payments(books: Books):
    books.archive()
    with books.used():
        seal()
        done = archive_trail(
            before=Archive.objects.get().at.replace(year=2100),
            directory=books.folder,
            by="ann",
            progress=lambda *_: None,
        )

        assert (done.end, done.stays, Archive.objects.count()) == (1, 1, 1)
        assert prove("payments_archive", 1)["leaf"]["row"]["file_name"] == Archive.objects.get().file_name
    assert found(books) == []


# --- Without the database ----------------------------------------------------------------------------------------


@pytest.fixture
def proven(two, tmp_path, monkeypatch, capsys):
    """Return what a stranger says about a file, who has only the proof of the first archive and the public key."""
    books, _, _ = two
    proof = tmp_path / "proof.json"
    with books.used():
        seal()
        call_command("prove_delivery", "1", "--kind", "payments_archive", "--out", str(proof))

    def said(path: Path) -> tuple[int, str]:
        arguments = [str(proof), "--key", str(books.folder / "public_keys"), "--body", str(path)]
        monkeypatch.setattr("sys.argv", ["standalone.py", *arguments])
        return standalone.main(), capsys.readouterr().out

    return said


def test_a_stranger_refuses_an_altered_file(two, proven, tmp_path):
    _, first, _ = two

    code, said = proven(forge(first, tmp_path / first.name))

    assert (code, said.startswith("FALSE: the file's SHA-256 is ")) == (1, True)


def test_a_stranger_refuses_a_renamed_file(two, proven, tmp_path):
    _, first, second = two
    renamed = tmp_path / second.name
    renamed.write_bytes(first.read_bytes())

    assert proven(renamed) == (1, f"FALSE: the file's name is {second.name}, not {first.name}.\n")


def test_a_stranger_confirms_the_file(two, proven):
    _, first, _ = two

    code, said = proven(first)

    assert (code, said.startswith("TRUE: payments_archive 1 is leaf ")) == (0, True)
    assert said.endswith("; the file is what was archived, byte for byte.\n")


def test_the_record_has_what_the_file_s_end_states(two):
    books, first, _ = two
    with books.used():
        seal()
        row = prove("payments_archive", 1)["leaf"]["row"]

    assert json.loads(row["contents"]) == files.check(first)[1].as_json()
