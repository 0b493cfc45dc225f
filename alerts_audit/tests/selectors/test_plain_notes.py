"""Pages and the API show the stored notes of transitions in plain words."""

from pathlib import Path

import pytest

from alerts_audit.projection import state_machine
from alerts_audit.selectors.plain_notes import PLAIN, in_plain_words
from fintech.testing.words import AVOIDED

SOURCE = Path(state_machine.__file__).read_text(encoding="utf-8")


@pytest.mark.parametrize("stored", PLAIN)
def test_a_stored_note_is_shown_in_plain_words(stored):
    assert stored in SOURCE
    assert not AVOIDED.search(in_plain_words(stored))


def test_a_note_keeps_what_follows_the_stored_words():
    note = "no Alertmanager knows it any more, and nobody told its end; suppressed by Cause"

    assert in_plain_words(note) == "no Alertmanager has it, and no end was reported; suppressed by Cause"


@pytest.mark.parametrize("note", [None, "", "its firing never arrived"])
def test_any_other_note_is_shown_as_it_is(note):
    assert in_plain_words(note) == note
