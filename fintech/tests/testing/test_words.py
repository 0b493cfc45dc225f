"""The vocabulary check finds avoided words and docstrings that begin with a question word."""

from pathlib import Path

import pytest

from fintech.testing import words


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(words, "ROOT", tmp_path)

    def write(name: str, text: str) -> list[str]:
        (tmp_path / name).write_text(text)
        return list(words.findings(tmp_path / name))

    return write


@pytest.mark.parametrize("word", words.VOCABULARY["avoid"])
def test_an_avoided_word_is_found_with_its_line_and_a_replacement(write, word):
    [finding] = write("page.md", f"# Title\n\n{word.capitalize()} in a sentence.\n")

    assert finding.startswith(f"page.md:3: '{word.capitalize()}': use ")


@pytest.mark.parametrize("text", ["file.tell()", "storyteller", "a run-away process", "far_away = 1", "NOBODY = 65534"])
def test_a_part_of_another_word_or_a_method_of_a_file_is_not_found(write, text):
    assert write("page.md", text) == []


@pytest.mark.parametrize("text", words.VOCABULARY["stored"])
def test_a_stored_text_keeps_its_words(write, text):
    assert write("module.py", f"NOTE = {text!r}\n") == []


@pytest.mark.parametrize("opening", words.VOCABULARY["openings"])
def test_a_docstring_that_begins_with_a_question_word_is_found(write, opening):
    [finding] = write("module.py", f'def f():\n    """{opening} it does."""\n')

    assert finding.startswith(f"module.py:1: the docstring begins with '{opening}'")


def test_a_docstring_that_begins_with_a_verb_passes(write):
    assert write("module.py", '"""Words of the module."""\n\n\ndef f():\n    """Return what it does."""\n') == []


@pytest.mark.parametrize("name", ["test_what_is_wrong_is_refused", "test_nobody_waits", "test_a_reader_is_told"])
def test_a_tests_name_in_other_words_is_found(write, name):
    [finding] = write("test_module.py", f"def {name}():\n    pass\n")

    assert finding.startswith("test_module.py:1: the test's name contains ")


def test_a_tests_name_in_plain_words_passes(write):
    assert write("test_module.py", "def test_a_stale_answer_of_what_kind_is_refused():\n    pass\n") == []


def test_every_checked_place_exists_and_passes():
    paths = list(words.files(words.VOCABULARY["checked"]))

    assert all(path.exists() for path in paths)
    assert [finding for path in paths for finding in words.findings(path)] == []
