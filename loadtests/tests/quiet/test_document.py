import json

import pytest

from loadtests.quiet import document

RUN = {
    "hours": 12.0,
    "speed": 20.0,
    "traffic": "mixed",
    "payments": 12345,
    "disturbances": {"slow database": 3, "deployment (HUP)": 4},
    "false_positives": {},
    "pending_seconds": {"TargetDown": 40.0, "GatewayDrift": 20.0},
    "blind_seconds": 5.0,
    "trail": "verified",
}


@pytest.mark.parametrize(
    "change",
    [
        {"false_positives": {"TargetDown": {"0": 1}}},
        {"pending_seconds": {"TargetDown": 121.0}},
        {"blind_seconds": 61.0},
        {"payments": 0},
        {"trail": "3 findings"},
    ],
)
def test_a_run_with_an_alert_a_long_wait_a_dead_part_or_a_bad_trail_is_not_quiet(change):
    assert document.is_quiet(RUN)
    assert not document.is_quiet(RUN | change)


def test_a_row_has_hours_and_speed_and_the_longest_pending():
    cells = document.row(RUN).split(" | ")

    assert cells[:2] == ["| 12", "20"]
    assert cells[-3:] == ["40 s (TargetDown)", "5 s", "verified |"]


def test_a_run_before_blind_seconds_were_measured_is_shown_and_proves_no_silence():
    older = {name: value for name, value in RUN.items() if name != "blind_seconds"}

    assert document.row(older).split(" | ")[-2:] == ["not measured", "verified |"]
    with pytest.raises(KeyError):
        document.is_quiet(older)


def test_the_page_shows_the_runs_of_the_file():
    runs = json.loads((document.DOCS / "quiet.json").read_text())

    assert (document.DOCS / "quiet.md").read_text() == document.document(runs)


def test_a_note_of_a_run_follows_the_table():
    assert document.document([RUN | {"note": "The machine was busy."}]).endswith("\nThe machine was busy.\n")


def test_runs_add_up_in_a_folder_that_need_not_exist(tmp_path):
    tmp_path /= "new"
    document.add(RUN, tmp_path)
    document.add(RUN | {"hours": 1.0, "speed": 1.0, "false_positives": {"TargetDown": {"0": 1, "3": 1}}}, tmp_path)

    assert len(json.loads((tmp_path / "quiet.json").read_text())) == 2
    assert "Together: 13.0 hours of the rules' time, 2 false positives." in (tmp_path / "quiet.md").read_text()
