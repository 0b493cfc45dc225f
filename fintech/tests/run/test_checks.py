"""Obstacles to a start, and the environment of a run's processes."""

import io
import os
import re
import socket
import stat
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from fintech.env import SettingError
from fintech.run import RunError, checks
from fintech.run.__main__ import Run
from fintech.run.console import Console
from fintech.run.layout import BASE_DIR, MARK, MAX_SOCKET_PATH, Layout, make_environment
from fintech.run.monitoring import PACKAGES, missing, monitoring_programs
from fintech.run.ports import ADVISED_BASE_PORT, Ports, read_ports
from fintech.secret_files import ensure_secret, read_secret, write_secret
from fintech.testing.processes import free_port

DATABASE = {"DATABASE_URL": "postgresql://app@/ours"}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    found = Layout(tmp_path / "var", Ports.from_base(21_000))
    found.make_directories()
    return found


def test_a_disk_that_is_nearly_full_is_refused(layout, monkeypatch):
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda _: SimpleNamespace(free=42 * 1024**2))

    checks.check_disk(layout.var, checks.MIN_FREE_TO_CONTINUE - 10 * checks.MEGABYTE)
    for least, needed in ((checks.MIN_FREE_TO_START, 500), (checks.MIN_FREE_TO_CONTINUE, 50)):
        with pytest.raises(RunError, match=f"has 42 MB left, and {needed} MB are needed: free some space"):
            checks.check_disk(layout.var, least)


def test_only_one_run_holds_the_lock_and_the_other_learns_its_pid(layout):
    with checks.take_lock(layout), pytest.raises(RunError, match=rf"already running \(PID {os.getpid()}\)"):
        checks.take_lock(layout)

    checks.take_lock(layout).close()  # a lock file that was left behind is no obstacle


def test_a_port_that_another_run_does_not_need_may_be_taken():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        ports = Ports(web=free_port(), prometheus=listener.getsockname()[1])

        checks.check_ports(ports, {"web"})
        with pytest.raises(RunError, match=r"\(prometheus\) is taken.*choose other ports with BASE_PORT"):
            checks.check_ports(ports, {"prometheus"})


@pytest.mark.parametrize("text", ["x", "-1", "80", "65535", "5000.5"])
def test_a_wrong_base_port_is_refused(text):
    with pytest.raises(RunError, match=r"BASE_PORT=.* is wrong: use a number"):
        read_ports(text)


@pytest.mark.parametrize("base", ["6000", "5995", "6660", "10075"])
def test_a_base_port_whose_ports_browsers_refuse_is_refused(base):
    with pytest.raises(RunError, match=r"BASE_PORT=\d+ includes port \d+, which browsers refuse to open: use .* 8200"):
        read_ports(base)


def test_the_advised_base_port_is_accepted():
    assert read_ports(str(ADVISED_BASE_PORT)).web == ADVISED_BASE_PORT


def test_ports_follow_the_base():
    assert read_ports("") == Ports()
    assert read_ports("7000") == Ports(7000, 7001, 7002, 7003, 7004, 7005, 7006, 7007, 7008, 7009)


def test_the_callers_settings_are_kept_and_no_secret_is_in_the_environment(layout):
    caller = {"GATEWAY_TOKEN": "mine", "DATABASE_URL": "postgresql://app@db/mine", "WEB_CONCURRENCY": "7"}

    environment = make_environment(layout, DATABASE, caller)

    assert environment.items() >= caller.items()
    assert "GATEWAY_TOKEN_FILE" not in environment
    assert environment["ALERT_TOKEN_FILE"] == str(layout.secrets / "alert_token")
    assert read_secret(layout.secrets / "alert_token") not in environment.values()
    assert environment[MARK] == str(layout.var)


def test_a_secret_is_made_once(layout):
    first = make_environment(layout, DATABASE, {})
    before = read_secret(layout.secrets / "django_secret_key")
    assert make_environment(layout, DATABASE, {}) == first
    assert read_secret(layout.secrets / "django_secret_key") == before


def test_an_address_of_the_callers_does_not_pull_the_ports_apart(layout):
    assert make_environment(layout, DATABASE, {"BIND": "0.0.0.0:80"})["BIND"] == "127.0.0.1:21000"


@pytest.mark.parametrize("currency", ["usd", "US", "EUR,USD", "*"])
def test_a_second_gateway_for_anything_but_a_currency_is_refused(layout, currency):
    with pytest.raises(RunError, match=r"SECOND_GATEWAY=.* is wrong: name the currency that it charges, such as USD"):
        make_environment(layout, DATABASE, {"SECOND_GATEWAY": currency})


@pytest.mark.parametrize("name", ["STRIPE_API_KEY", "STRIPE_API_KEY_FILE", "STRIPE_URL", "STRIPE_WEBHOOK_SECRET"])
def test_a_fake_of_stripe_beside_the_settings_of_another_one_is_refused(layout, name):
    with pytest.raises(RunError, match=f"SECOND_GATEWAY starts a fake of Stripe, but {name} is set"):
        make_environment(layout, DATABASE, {"SECOND_GATEWAY": "USD", name: "given"})


def test_without_a_second_gateway_stripe_is_not_configured(layout):
    assert not [name for name in make_environment(layout, DATABASE, {}) if "STRIPE" in name or "ROUTES" in name]


def test_a_later_run_keeps_the_second_gateway_of_its_payments_but_sends_it_no_new_ones(layout):
    first = make_environment(layout, DATABASE, {"SECOND_GATEWAY": "USD"})
    later = make_environment(layout, DATABASE, {})

    assert first["GATEWAY_ROUTES"] == "USD=stripe"
    assert "GATEWAY_ROUTES" not in later
    assert {name: first[name] for name in first if "STRIPE" in name} == {
        name: later[name] for name in later if "STRIPE" in name
    }


def test_the_callers_routes_and_the_callers_stripe_are_kept(layout):
    routes, stripe = {"GATEWAY_ROUTES": "USD=stripe>simulator"}, {"STRIPE_API_KEY": "sk_test_x"}
    make_environment(layout, DATABASE, {"SECOND_GATEWAY": "USD"})

    assert make_environment(layout, DATABASE, {"SECOND_GATEWAY": "USD"} | routes).items() >= routes.items()
    assert "STRIPE_URL" not in make_environment(layout, DATABASE, stripe)


def test_an_empty_secret_file_is_filled_again(tmp_path):
    (tmp_path / "token").touch()

    ensure_secret(tmp_path / "token")

    assert len(read_secret(tmp_path / "token") or "") >= 32


def test_a_secret_file_that_others_could_read_is_replaced_by_a_closed_one(tmp_path):
    path = tmp_path / "token"
    path.touch(mode=0o644)

    write_secret(path, "s3cret")

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_secret(path) == "s3cret"


def test_a_deep_folder_gets_a_socket_with_a_short_name(tmp_path):
    assert len(str(Layout(tmp_path / ("long" * 40), Ports()).supervisor_socket)) < MAX_SOCKET_PATH


def test_tools_that_are_not_installed_are_left_out(layout, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")

    assert monitoring_programs(layout, {"ALERT_TOKEN": "given"}) == []
    assert read_secret(layout.secrets / "alert_token") == "given"


def test_alerts_go_to_the_configured_telegram_chat(layout, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("AM_TELEGRAM_BOT_TOKEN", "123:abc")
    monkeypatch.setenv("AM_TELEGRAM_CHAT_ID", "-1001")
    monitoring_programs(layout, {"ALERT_TOKEN": "given"})

    written = (layout.run / "observability" / "alertmanager.yml").read_text()
    assert written.count("chat_id: -1001") == written.count('bot_token: "123:abc"') == 2


def test_a_chat_that_is_no_number_stops_the_start(layout, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("AM_TELEGRAM_BOT_TOKEN", "123:abc")
    monkeypatch.setenv("AM_TELEGRAM_CHAT_ID", "@shop")

    with pytest.raises(SettingError, match="AM_TELEGRAM_CHAT_ID is wrong"):
        monitoring_programs(layout, {"ALERT_TOKEN": "given"})


def test_missing_programs_are_named_with_the_command_that_installs_them(layout, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("NO_LOAD", raising=False)
    screen = io.StringIO()
    run = Run(layout, Console(screen))
    run.environment = {"ALERT_TOKEN": "given"}

    names = [program.name for program in run._choose_programs()]

    assert names == ["gateway", "metrics", "worker", "web", "merchant", "load"]
    assert screen.getvalue() == (
        "Without alertmanager, blackbox_exporter, node_exporter and prometheus: not installed (on Debian and Ubuntu:"
        " sudo apt install prometheus-alertmanager prometheus-blackbox-exporter prometheus-node-exporter prometheus).\n"
    )


def test_the_advised_packages_are_those_of_readme_and_of_the_tests_machine():
    text = (BASE_DIR / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall("^sudo apt install .*", text, re.MULTILINE)

    assert set(line.removeprefix("sudo apt install").split()) == set(PACKAGES.values())
    installed = re.findall(r"([a-z-]+):", (BASE_DIR / ".ci" / "run").read_text())
    assert set(PACKAGES.values()) <= set(installed)


def test_an_exporter_whose_port_is_taken_is_left_out_and_named(layout, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "prometheus-node-exporter").touch(0o755)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        crowded = Layout(layout.var, replace(layout.ports, node_exporter=listener.getsockname()[1]))

        assert monitoring_programs(crowded, {"ALERT_TOKEN": "given"}) == []
        assert f"Without node_exporter: its port {crowded.ports.node_exporter} is taken." in (
            missing(crowded, []) or ""
        )
