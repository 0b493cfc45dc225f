"""After the start `make run` asks Prometheus and Alertmanager what they have loaded."""

from functools import partial

import pytest

from fintech.run import RunError, monitoring
from fintech.run.layout import Layout
from fintech.run.ports import Ports
from fintech.testing.processes import answers, free_port, running, wait_until
from observability.render import prometheus_command, render

pytestmark = pytest.mark.processes


@pytest.fixture
def layout(tmp_path, monkeypatch) -> Layout:
    monkeypatch.setattr(monitoring.LoadedCheck, "PATIENCE_SECONDS", 0.0)
    found = Layout(tmp_path / "a [b] c", Ports(prometheus=free_port(), alertmanager=free_port()))
    found.make_directories()
    return found


def prometheus(layout: Layout):
    port = layout.ports.prometheus
    command = prometheus_command(layout.run, layout.run / "data", f"127.0.0.1:{port}")
    if command is None:
        pytest.skip("Prometheus is not installed")
    return running(command, log=layout.logs / "prometheus.log", ready=partial(answers, port, "/-/ready"))


def test_a_prometheus_without_rules_is_reported_once(layout):
    (layout.run / "prometheus.yml").write_text("rule_files: [nowhere/*.yml]\n")
    check = monitoring.LoadedCheck(layout, {"prometheus"})

    with prometheus(layout):
        [sentence], again = check.news(), check.news()

    assert sentence.startswith("prometheus runs without rules and targets and Alertmanager: alerts may not fire")
    assert str(layout.logs / "prometheus.log") in sentence
    assert again == []


def test_a_program_that_does_not_answer_is_reported(layout):
    [sentence] = monitoring.LoadedCheck(layout, {"alertmanager"}).news()

    assert sentence.startswith("alertmanager runs without answer (")


def test_loaded_files_and_programs_that_were_not_started_are_not_reported(layout):
    render(
        layout.run,
        web_target="127.0.0.1:1",
        worker_target="127.0.0.1:1",
        alertmanager_target="127.0.0.1:1",
        webhook_url="http://127.0.0.1:1/alert",
        token_file=layout.secrets / "alert_token",
    )

    with prometheus(layout):
        wait_until(lambda: not monitoring.LoadedCheck(layout, {"prometheus", "web"}).news(), 20, "all is loaded")


def test_nothing_is_asked_before_prometheus_has_had_time(layout, monkeypatch):
    monkeypatch.setattr(monitoring.LoadedCheck, "PATIENCE_SECONDS", 60.0)

    assert monitoring.LoadedCheck(layout, {"prometheus", "alertmanager"}).news() == []


def test_a_folder_that_prometheus_cannot_read_is_refused_with_a_sentence(tmp_path):
    layout = Layout(tmp_path / "a*b", Ports())
    layout.make_directories()

    with pytest.raises(RunError, match=r"has a \* in its name"):
        monitoring.write_configuration(layout, {"ALERT_TOKEN": "t"}, {})
