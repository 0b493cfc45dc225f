"""One set of files for Compose and for one machine."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from observability.render import HERE, alertmanager_command, faster, prometheus_command, render, replace_value

ADDRESSES: dict[str, Any] = {
    "web_target": "127.0.0.1:19464",
    "worker_target": "127.0.0.1:19465",
    "alertmanager_target": "127.0.0.1:19093",
    "webhook_url": "http://127.0.0.1:15000/alert",
    "token_file": "alert_token",
}


def load(path: Path):
    return yaml.safe_load(path.read_text())


def test_a_setting_that_the_files_do_not_have_is_refused():
    with pytest.raises(ValueError, match="expected one url, found 0"):
        replace_value("receiver: audit\n", "url", "http://elsewhere")


def test_a_setting_that_is_there_twice_is_refused():
    with pytest.raises(ValueError, match="expected one url, found 2"):
        replace_value("url: a\nurl: b\n", "url", "http://elsewhere")


def test_only_addresses_and_intervals_differ_from_what_compose_mounts(tmp_path):
    render(tmp_path, **ADDRESSES, interval_seconds=2)
    original, rendered = load(HERE / "prometheus/prometheus.yml"), load(tmp_path / "prometheus.yml")
    assert rendered["global"] == {
        "scrape_interval": "2000ms",
        "scrape_timeout": "1600ms",
        "evaluation_interval": "2000ms",
    }
    assert {**rendered, "global": original["global"]} == original

    original, rendered = load(HERE / "alertmanager/alertmanager.yml"), load(tmp_path / "alertmanager.yml")
    for receiver in (original["receivers"][0], rendered["receivers"][0]):
        webhook = receiver["webhook_configs"][0]
        webhook["url"] = webhook["http_config"]["authorization"]["credentials_file"] = "?"
    assert rendered == original

    for rules in (HERE / "prometheus/rules").glob("*.yml"):
        assert (tmp_path / "rules" / rules.name).read_text() == rules.read_text()


def test_the_addresses_are_where_the_programs_read_them(tmp_path):
    render(tmp_path, **ADDRESSES)

    for job in ("web", "worker", "alertmanager"):
        assert load(tmp_path / "targets" / f"{job}.yml") == [{"targets": [ADDRESSES[f"{job}_target"]]}]
    [receiver] = load(tmp_path / "alertmanager.yml")["receivers"]
    [webhook] = receiver["webhook_configs"]
    assert webhook["url"] == ADDRESSES["webhook_url"]
    assert Path(webhook["http_config"]["authorization"]["credentials_file"]).is_absolute()


def test_rendering_again_follows_a_changed_address(tmp_path):
    render(tmp_path, **ADDRESSES)
    render(tmp_path, **{**ADDRESSES, "web_target": "127.0.0.1:9"})

    assert load(tmp_path / "targets/web.yml") == [{"targets": ["127.0.0.1:9"]}]


@pytest.mark.parametrize("speed", [1, 30, 1000])
def test_what_was_rendered_is_accepted_by_the_programs(tmp_path, speed):
    if not (shutil.which("promtool") and shutil.which("amtool")):
        pytest.skip("promtool and amtool are not installed")
    render(tmp_path, **ADDRESSES, interval_seconds=0.5, speed=speed)

    subprocess.run(["promtool", "check", "config", tmp_path / "prometheus.yml"], check=True)
    subprocess.run(["amtool", "check-config", tmp_path / "alertmanager.yml"], check=True)


def test_speed_divides_durations_and_nothing_else():
    text = "a:rate5m > 30 / 300 # [5m]\nfor: 2m\nkeep_firing_for: 90s\ngroup_wait: 10s\nlabels: {job: 5m}\n"

    assert faster(text, 30) == (
        "a:rate5m > 30 / 300 # [10000ms]\nfor: 4000ms\nkeep_firing_for: 3000ms\ngroup_wait: 333ms\nlabels: {job: 5m}\n"
    )
    assert faster(text, 1) == text


def test_a_program_that_is_not_installed_has_no_command(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    assert prometheus_command(tmp_path, tmp_path, "127.0.0.1:0") is None
    assert alertmanager_command(tmp_path, tmp_path, "127.0.0.1:0") is None
