"""The migrated data that servers of tests are copied from."""

from fintech.testing.databases import migrated_data


def test_each_session_has_migrated_data_of_its_own(monkeypatch, tmp_path):
    """`make prove` has one session after the other in one process, and removes the folder of each."""
    monkeypatch.delenv("MIGRATED_DIR", raising=False)
    found = []
    for name in ("first", "second"):
        session = tmp_path / name
        (session / "made" / "migrated").mkdir(parents=True)
        (session / "made" / "migrated" / "complete").touch()
        monkeypatch.setenv("RUNTIME_DIR", str(session / "runtime"))
        found.append(migrated_data())

    assert found == [tmp_path / name / "made" / "migrated" / "postgres" for name in ("first", "second")]
