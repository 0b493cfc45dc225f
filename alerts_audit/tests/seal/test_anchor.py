"""The checkpoint file only grows, and a crash in the middle of a line spoils nothing."""

import json
import threading

import pytest

from alerts_audit.seal.anchor import TAIL, CheckpointFile
from alerts_audit.seal.keys import SealError


@pytest.fixture
def file(tmp_path) -> CheckpointFile:
    return CheckpointFile(tmp_path / "checkpoints")


def ids(file: CheckpointFile) -> list[int]:
    return [entry.id for _, _, entry in file.lines() if entry is not None]


def test_there_is_nothing_at_first(file):
    assert file.last() is None
    assert ids(file) == []


def test_an_appended_checkpoint_is_in_the_file(file):
    written = file.append([(1, "one\n"), (2, "two — \n")])

    assert ids(file) == [1, 2]
    assert file.last() == written[1]
    assert file.last().note == "two — \n"


def test_a_checkpoint_in_the_file_is_not_written_again(file):
    file.append([(1, "one"), (2, "two")])

    assert [entry.id for entry in file.append([(1, "one"), (2, "two"), (3, "three")])] == [3]
    assert ids(file) == [1, 2, 3]


@pytest.mark.parametrize(
    "torn", [b"{", b'{"id": 3, "note": "th', b'{"id": 3, "note": "three", "written_at": "x"}'[:-1]]
)
def test_a_torn_line_is_stepped_over_and_written_whole_after_it(file, torn):
    file.append([(1, "one"), (2, "two")])
    with file.path.open("ab") as raw:
        raw.write(torn)

    assert file.last().id == 2
    file.append([(3, "three")])
    assert ids(file) == [1, 2, 3]
    assert file.path.read_bytes().splitlines()[2] == torn


def test_a_whole_entry_without_its_line_break_counts(file):
    file.append([(1, "one"), (2, "two")])
    file.path.write_bytes(file.path.read_bytes().rstrip(b"\n"))

    assert file.last().id == 2
    file.append([(2, "two"), (3, "three")])
    assert ids(file) == [1, 2, 3]


def test_the_last_entry_of_a_long_file_is_found(file):
    file.append([(number, "x" * 500) for number in range(1, 500)])

    assert file.path.stat().st_size > TAIL
    assert file.last().id == 499


def test_a_file_of_something_else_is_refused(file):
    file.path.write_bytes(b"something else\n" * TAIL)

    with pytest.raises(SealError, match="holds no checkpoint"):
        file.last()


def test_writers_at_once_leave_whole_lines(file):
    def write() -> None:
        for number in range(1, 30):
            file.append([(number, f"note {number}")])

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [json.loads(line)["id"] for line in file.path.read_bytes().splitlines()] == list(range(1, 30))
