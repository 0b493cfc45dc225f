"""The same files serve Compose and one machine."""

import re
import shutil
import subprocess
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from fintech.testing.processes import answers, free_port, running, wait_until
from observability.loaded import missing_in_alertmanager, missing_in_prometheus
from observability.render import (
    HERE,
    Telegram,
    alertmanager_command,
    faster,
    prometheus_command,
    render,
    replace_value,
    with_telegram,
)

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
    [webhook] = load(tmp_path / "alertmanager.yml")["receivers"][0]["webhook_configs"]
    assert webhook["url"] == ADDRESSES["webhook_url"]
    assert Path(webhook["http_config"]["authorization"]["credentials_file"]).is_absolute()


def test_a_job_without_a_target_is_silent(tmp_path):
    render(tmp_path, **ADDRESSES, probes={"web": "http://127.0.0.1:15000/ready"})

    in_compose = {path.name for path in (HERE / "prometheus/targets").glob("*.yml")}
    assert {path.name for path in (tmp_path / "targets").glob("*.yml")} == in_compose
    for job in ("node", "grafana", "probe", "prometheus"):
        assert load(tmp_path / "targets" / f"{job}.yml") == []


def test_probes_go_through_the_blackbox_exporter_that_is_there(tmp_path):
    render(
        tmp_path,
        **ADDRESSES,
        other_targets={"blackbox": "127.0.0.1:19115", "node": "127.0.0.1:19100"},
        probes={"web": "http://127.0.0.1:15000/ready"},
    )

    [group] = load(tmp_path / "targets/probe.yml")
    assert group["targets"] == ["http://127.0.0.1:15000/ready"]
    # Only addresses differ from Compose.
    [in_compose, *_] = load(HERE / "prometheus/targets/probe.yml")
    assert group["labels"] == {**in_compose["labels"], "__blackbox": "127.0.0.1:19115"}
    assert load(tmp_path / "targets/node.yml") == [{"targets": ["127.0.0.1:19100"]}]


def test_a_job_that_prometheus_does_not_have_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no job nodes"):
        render(tmp_path, **ADDRESSES, other_targets={"nodes": "127.0.0.1:19100"})


def test_every_job_has_a_file_of_targets_in_compose():
    jobs = {job["job_name"] for job in load(HERE / "prometheus/prometheus.yml")["scrape_configs"]}

    assert {path.stem for path in (HERE / "prometheus/targets").glob("*.yml")} == jobs


# --- Names of folders --------------------------------------------------------------------------------------------

ODD = [
    "a [b] c",
    "Project #1",
    "x ;y",
    "per%cent",
    "it's",
    'a "quote"',
    "back\\slash",
    "who?",
    "$HOME",
    "{{ x }}",
    "ü \U0001f4b6",
    "- x: y",
]


def odd_folder(tmp_path: Path, name: str) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    (tmp_path / "alert_token").write_text("none")
    return folder


# Each Prometheus reads its targets only after five seconds, so several wait together; not all, because each watches
# every folder of targets, and Linux allows a user 128 such watches.
@pytest.mark.processes
@pytest.mark.parametrize("names", [ODD[:4], ODD[4:8], ODD[8:]], ids=" ".join)
def test_prometheus_finds_its_rules_targets_and_alertmanager_in_a_folder_of_any_name(tmp_path_factory, names):
    with ExitStack() as stack:
        urls = []
        for name in names:
            parent, port = tmp_path_factory.mktemp("odd"), free_port()
            folder = odd_folder(parent, name)
            render(folder, **ADDRESSES | {"token_file": folder / "token"})
            command = prometheus_command(folder, folder / "data", f"127.0.0.1:{port}")
            if command is None:
                pytest.skip("Prometheus is not installed")
            stack.enter_context(running(command, log=parent / "log", ready=partial(answers, port, "/-/ready")))
            urls.append(f"http://127.0.0.1:{port}")

        wait_until(lambda: not any(map(missing_in_prometheus, urls)), 60, "all is loaded")


@pytest.mark.processes
@pytest.mark.parametrize("name", ODD)
def test_alertmanager_finds_its_template_and_its_token_in_a_folder_of_any_name(tmp_path, name):
    folder = odd_folder(tmp_path, name)
    (folder / "token").write_text("none")
    render(folder, **ADDRESSES | {"token_file": folder / "token"}, telegram=Telegram(chat_id=1, bot_token="1:a"))
    if shutil.which("amtool") is None:
        pytest.skip("amtool is not installed")

    result = subprocess.run(
        ["amtool", "check-config", folder / "alertmanager.yml"], capture_output=True, text=True, check=False
    )

    assert result.returncode == 0, result.stderr
    assert "1 templates" in result.stdout
    [webhook] = load(folder / "alertmanager.yml")["receivers"][0]["webhook_configs"]
    assert webhook["http_config"]["authorization"]["credentials_file"] == str(folder / "token")


@pytest.mark.processes
def test_a_prometheus_that_loads_nothing_says_so(tmp_path):
    port = free_port()
    (tmp_path / "prometheus.yml").write_text("rule_files: [nowhere/*.yml]\n")
    command = prometheus_command(tmp_path, tmp_path / "data", f"127.0.0.1:{port}")
    if command is None:
        pytest.skip("Prometheus is not installed")

    with running(command, log=tmp_path / "log", ready=partial(answers, port, "/-/ready")):
        missing = missing_in_prometheus(f"http://127.0.0.1:{port}")

    assert missing == ["rules", "targets", "Alertmanager"]


def test_programs_that_do_not_answer_miss_that():
    closed = f"http://127.0.0.1:{free_port()}"

    assert [
        missing[0].startswith("answer (")
        for missing in (missing_in_prometheus(closed), missing_in_alertmanager(closed))
    ] == [True, True]


def test_a_folder_that_prometheus_cannot_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has a \* in its name"):
        render(odd_folder(tmp_path, "a*b"), **ADDRESSES)


# --- Telegram ----------------------------------------------------------------------------------------------------


def test_without_a_bot_people_have_receivers_that_send_nothing(tmp_path):
    render(tmp_path, **ADDRESSES)

    assert load(tmp_path / "alertmanager.yml")["receivers"][1:] == [{"name": "page"}, {"name": "ticket"}]


def test_with_a_bot_a_page_has_a_sound_and_a_ticket_has_none(tmp_path):
    render(tmp_path, **ADDRESSES, telegram=Telegram(chat_id=-100, bot_token="1:a'b", api_url="http://127.0.0.1:1"))

    page, ticket = (
        receiver["telegram_configs"][0] for receiver in load(tmp_path / "alertmanager.yml")["receivers"][1:]
    )
    assert (page["bot_token"], page["chat_id"], page["api_url"]) == ("1:a'b", -100, "http://127.0.0.1:1")
    assert (page["disable_notifications"], ticket["disable_notifications"]) == (False, True)
    assert {**page, "disable_notifications": True} == ticket


def test_only_the_owner_can_read_the_file_with_the_bots_token(tmp_path):
    render(tmp_path, **ADDRESSES, telegram=Telegram(chat_id=1, bot_token="1:a"))

    assert (tmp_path / "alertmanager.yml").stat().st_mode & 0o077 == 0


def test_a_token_may_stay_in_a_file_of_its_own_for_alertmanagers_that_read_it():
    text = (HERE / "alertmanager/alertmanager.yml").read_text()
    telegram = Telegram(chat_id=1, bot_token_file="/run/secrets/bot")

    [_, page, _] = yaml.safe_load(with_telegram(text, telegram))["receivers"]
    assert page["telegram_configs"][0]["bot_token_file"] == "/run/secrets/bot"
    assert "bot_token" not in page["telegram_configs"][0]


@pytest.mark.parametrize("tokens", [{}, {"bot_token": "1:a", "bot_token_file": "/run/secrets/bot"}])
def test_a_bot_has_one_token(tokens):
    with pytest.raises(ValueError, match="either bot_token or bot_token_file"):
        Telegram(chat_id=1, **tokens)


def test_rendering_again_follows_a_changed_address(tmp_path):
    render(tmp_path, **ADDRESSES)
    render(tmp_path, **{**ADDRESSES, "web_target": "127.0.0.1:9"})

    assert load(tmp_path / "targets/web.yml") == [{"targets": ["127.0.0.1:9"]}]


@pytest.mark.processes
@pytest.mark.parametrize("speed", [1, 30, 1000])
def test_the_programs_accept_the_rendered_files(tmp_path, speed):
    if not (shutil.which("promtool") and shutil.which("amtool")):
        pytest.skip("promtool and amtool are not installed")
    bot = Telegram(chat_id=-100, bot_token="1:a")
    render(tmp_path, **ADDRESSES, interval_seconds=0.5, speed=speed, telegram=bot)

    subprocess.run(["promtool", "check", "config", tmp_path / "prometheus.yml"], check=True)
    subprocess.run(["amtool", "check-config", tmp_path / "alertmanager.yml"], check=True)


def test_speed_divides_durations_and_nothing_else():
    text = "a:rate5m > 30 / 300 # [5m]\nfor: 2m\nkeep_firing_for: 90s\ngroup_wait: 10s\nlabels: {job: 5m}\n"

    assert faster(text, 30) == (
        "a:rate5m > 30 / 300 # [10000ms]\nfor: 4000ms\nkeep_firing_for: 3000ms\ngroup_wait: 333ms\nlabels: {job: 5m}\n"
    )
    assert faster("interval: 1m\na[1h:1m] offset 1d", 60) == "interval: 1000ms\na[60000ms:1000ms] offset 1440000ms"
    assert faster(text, 1) == text


def test_speed_divides_ages_which_say_that_they_are_seconds():
    assert faster("age > 300 # seconds\nratio > 300\n", 60) == "age > 5 # seconds\nratio > 300\n"
    assert faster("time() - sealed > 90 # seconds", 60) == "time() - sealed > 1.5 # seconds"
    assert faster("age_seconds > limit_seconds # seconds", 60) == "age_seconds > limit_seconds / 60 # seconds"


def test_every_age_in_the_rules_is_marked():
    """An unmarked number of seconds would not be accelerated in tests and drills."""
    for file in (HERE / "prometheus/rules").glob("*.yml"):
        for line in file.read_text().splitlines():
            if re.search(r"_seconds(:max)? > (\d{2}|\w+_seconds)|time\(\) - \w+ > \d", line):
                assert line.endswith("# seconds"), line


def test_a_program_that_is_not_installed_has_no_command(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    assert prometheus_command(tmp_path, tmp_path, "127.0.0.1:0") is None
    assert alertmanager_command(tmp_path, tmp_path, "127.0.0.1:0") is None
