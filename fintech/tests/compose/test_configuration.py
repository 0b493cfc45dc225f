"""The configuration of the monitoring's containers, as the service `configuration` writes it."""

import stat
from pathlib import Path

import pytest
import yaml

from fintech.compose import configuration
from fintech.secret_files import write_secret

EVERYTHING = {"traces", "containers"}
ALERTMANAGER = Path("alertmanager", "alertmanager.yml")


def files(profiles=EVERYTHING, telegram=None) -> dict[str, bytes]:
    return {str(path): content for path, content in configuration.contents(profiles, telegram).items()}


def targets(found: dict[str, bytes], job: str) -> list[str]:
    groups = yaml.safe_load(found[f"prometheus/targets/{job}.yml"])
    return [target for group in groups for target in group["targets"]]


def test_a_volume_that_cannot_be_written_stops_the_start_with_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(configuration, "TARGET", tmp_path / "missing")

    with pytest.raises(SystemExit, match=r"^error: the configuration cannot be written: .*missing"):
        configuration.main()


@pytest.mark.parametrize(("profiles", "left_out"), [(set(), {"tempo", "cadvisor"}), ({"traces"}, {"cadvisor"})])
def test_a_disabled_profile_is_not_scraped(profiles, left_out):
    found = files(profiles)

    assert not [job for job in left_out if targets(found, job)]
    assert targets(found, "web") == ["metrics:9464"]


@pytest.mark.parametrize("profiles", [EVERYTHING, {"*"}])
def test_an_enabled_profile_is_scraped(profiles):
    found = files(profiles)

    assert targets(found, "tempo") == ["tempo:3200"]
    assert targets(found, "cadvisor") == ["cadvisor:8080"]


@pytest.mark.parametrize("profiles", [set(), {"containers"}])
def test_without_tempo_alloy_sends_nothing_to_it(profiles):
    alloy = {path: content for path, content in files(profiles).items() if path.startswith("alloy/")}

    assert alloy.keys() == {"alloy/logs.alloy", "alloy/traces_dropped.alloy"}
    assert not [path for path, content in alloy.items() if b"tempo:" in content]


@pytest.mark.parametrize("profiles", [EVERYTHING, {"traces"}, {"*"}])
def test_with_tempo_alloy_has_one_file_about_traces(profiles):
    alloy = {path for path in files(profiles) if path.startswith("alloy/")}

    assert alloy == {"alloy/logs.alloy", "alloy/traces.alloy"}


def test_tests_of_rules_stay_outside():
    assert not [path for path in files() if "/tests/" in path]


def test_each_folder_is_there():
    assert {path.partition("/")[0] for path in files()} == set(configuration.FOLDERS)


def test_without_a_bot_no_alert_goes_to_telegram(monkeypatch, tmp_path):
    write_secret(tmp_path / "telegram_chat_id", "")
    monkeypatch.setenv("AM_TELEGRAM_CHAT_ID_FILE", str(tmp_path / "telegram_chat_id"))

    assert configuration.read_telegram() is None
    assert b"telegram_configs" not in files()[str(ALERTMANAGER)]


def test_with_a_bot_alerts_go_to_telegram_and_its_token_stays_in_its_file(monkeypatch):
    monkeypatch.setenv("AM_TELEGRAM_CHAT_ID", "-100123")

    content = files(telegram=configuration.read_telegram())[str(ALERTMANAGER)]

    receivers = {receiver["name"]: receiver for receiver in yaml.safe_load(content)["receivers"]}
    [telegram] = receivers["page"]["telegram_configs"]
    assert (telegram["chat_id"], telegram["bot_token_file"]) == (-100123, "/run/secrets/telegram_bot_token")


def test_everyone_may_read_and_what_is_gone_goes(tmp_path):
    (tmp_path / "prometheus" / "rules").mkdir(parents=True)
    (tmp_path / "prometheus" / "rules" / "old.yml").write_text("of an earlier version")

    configuration.write(tmp_path, configuration.contents(EVERYTHING, None))

    assert not (tmp_path / "prometheus" / "rules" / "old.yml").exists()
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path.is_file()} == {0o644}


def test_an_unchanged_file_is_not_written(tmp_path):
    configuration.write(tmp_path, configuration.contents(EVERYTHING, None))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}

    configuration.write(tmp_path, configuration.contents(EVERYTHING, None))

    assert {path: path.stat().st_mtime_ns for path in before} == before
