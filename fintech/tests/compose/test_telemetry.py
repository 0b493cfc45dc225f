"""Loki, Grafana, Tempo and Alloy: their configuration keeps the promises of docs/logs-and-traces.md.

Their own programs check it where they are installed. Elsewhere `observability/checked.json` has the hash that each
program last accepted, so an unchecked change fails.
"""

import ast
import hashlib
import inspect
import json
import re
import shutil
import subprocess
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import yaml

from fintech.telemetry import tracing
from fintech.testing.databases import session_server
from fintech.testing.processes import BASE_DIR
from payments.gateway import client

FOLDER = BASE_DIR / "observability"
CHECKED: dict[str, dict[str, str]] = json.loads((FOLDER / "checked.json").read_text())
COMPOSE = yaml.safe_load((BASE_DIR / "docker-compose.yml").read_text())["services"]
LOKI = yaml.safe_load((FOLDER / "loki/loki.yml").read_text())
TEMPO = yaml.safe_load((FOLDER / "tempo/tempo.yml").read_text())
LOGS, TRACES, DROPPED = ((FOLDER / f"alloy/{name}.alloy").read_text() for name in ("logs", "traces", "traces_dropped"))
SEVEN_DAYS = "168h"

COMMANDS = {
    "loki/loki.yml": ["loki", "-verify-config", "-config.file=observability/loki/loki.yml"],
    "tempo/tempo.yml": ["tempo", "-config.verify=true", "-config.file=observability/tempo/tempo.yml"],
    "alloy/logs.alloy": ["alloy", "validate", "observability/alloy/logs.alloy"],
    "alloy/traces.alloy": ["alloy", "validate", "observability/alloy/traces.alloy"],
    "alloy/traces_dropped.alloy": ["alloy", "validate", "observability/alloy/traces_dropped.alloy"],
}


def digest(file: str) -> str:
    """Return a hash of the file without its comments."""
    text = (FOLDER / file).read_text()
    meaning = (
        re.sub(r"(?m)^\s*//.*\n", "", text)
        if file.endswith(".alloy")
        else json.dumps(yaml.safe_load(text), default=str)
    )
    return hashlib.sha256(meaning.encode()).hexdigest()


@pytest.mark.parametrize("file", COMMANDS)
def test_the_program_itself_has_accepted_the_file(file):
    command = COMMANDS[file]
    if shutil.which(command[0]):
        subprocess.run(command, cwd=BASE_DIR, check=True)
        return
    advice = f"{file} has changed since its program checked it: run `{' '.join(command)}`, then note {digest(file)}"
    assert CHECKED[file]["sha256"] == digest(file), advice


@pytest.mark.parametrize("file", COMMANDS)
def test_the_checked_version_is_the_one_that_compose_starts(file):
    service = file.partition("/")[0]
    assert CHECKED[file]["program"] == COMPOSE[service]["image"]


# --- Loki ----------------------------------------------------------------------------------------------------


def test_loki_deletes_after_seven_days():
    assert LOKI["limits_config"]["retention_period"] == SEVEN_DAYS
    assert LOKI["compactor"]["retention_enabled"] is True  # without it nothing is deleted
    assert LOKI["compactor"]["delete_request_store"] == "filesystem"


def test_loki_stores_what_structured_metadata_needs():
    [period] = LOKI["schema_config"]["configs"]
    assert (period["store"], period["schema"]) == ("tsdb", "v13")


def test_loki_writes_to_its_volume_only():
    paths = [LOKI["common"]["path_prefix"], LOKI["compactor"]["working_directory"]]
    paths += LOKI["common"]["storage"]["filesystem"].values()
    assert all(path == "/loki" or path.startswith("/loki/") for path in paths)
    assert "loki:/loki" in COMPOSE["loki"]["volumes"]


# --- Grafana -------------------------------------------------------------------------------------------------


def test_grafana_keeps_the_data_sources_that_its_image_brought():
    sources = yaml.safe_load((FOLDER / "grafana/provisioning/datasources/datasources.yml").read_text())["datasources"]
    environment = COMPOSE["grafana"]["environment"]
    assert environment["GF_PLUGINS_PREINSTALL_DISABLED"] == "true"  # else it would try to renew them
    assert not {source["type"] for source in sources} & set(environment["GF_PLUGINS_DISABLE_PLUGINS"].split(", "))


# --- Tempo ---------------------------------------------------------------------------------------------------


def test_tempo_deletes_after_seven_days():
    provider = TEMPO["backend_scheduler"]["provider"]
    assert provider["compaction"]["compaction"]["block_retention"] == SEVEN_DAYS
    assert TEMPO["backend_worker"]["compaction"]["block_retention"] == SEVEN_DAYS


def test_tempo_stops_before_it_is_killed():
    patience = TEMPO["backend_worker"]["finish_on_shutdown_timeout"]  # 30s unless it is set
    assert int(patience.removesuffix("s")) < int(COMPOSE["tempo"]["stop_grace_period"].removesuffix("s"))


def test_the_service_graph_takes_the_database_for_a_database_and_the_gateway_for_none():
    names = set(TEMPO["metrics_generator"]["processor"]["service_graphs"]["database_name_attributes"])
    dictionaries = [node for node in ast.walk(ast.parse(inspect.getsource(client))) if isinstance(node, ast.Dict)]
    attributes = {key.value for node in dictionaries for key in node.keys if isinstance(key, ast.Constant)}
    assert names & set(tracing.DATABASE)
    assert "peer.service" in attributes
    assert not names & attributes


def test_tempo_has_none_of_the_parts_that_ended_with_its_second_version():
    assert not {"ingester", "ingester_client", "compactor"} & TEMPO.keys()


def test_tempos_exemplars_reach_prometheus():
    [target] = TEMPO["metrics_generator"]["storage"]["remote_write"]
    assert (urlsplit(target["url"]).hostname, target["send_exemplars"]) == ("prometheus", True)
    assert {"--web.enable-remote-write-receiver", "--enable-feature=exemplar-storage"} <= set(
        COMPOSE["prometheus"]["command"]
    )


# --- Alloy ---------------------------------------------------------------------------------------------------


def blocks(kind: str, text: str = LOGS) -> list[str]:
    """The content of all blocks of that kind, at any depth."""
    found = re.findall(rf"(?ms)^(\t*){re.escape(kind)}(?: \"\w+\")? \{{\n(.*?)^\1\}}", text)
    return [content for _, content in found]


def test_alloy_makes_streams_of_a_handful_of_values_only():
    [labels] = blocks("stage.labels")
    assert set(re.findall(r"(\w+) = \"\"", labels)) == {"container", "service", "level"}


def test_ids_can_be_searched_and_make_no_streams():
    [metadata] = blocks("stage.structured_metadata")
    assert set(re.findall(r"(\w+) = \"\"", metadata)) == {"trace_id", "request_id"}


def test_alloy_reads_the_attributes_that_docker_writes_into_a_line():
    options = COMPOSE["app"]["logging"]["options"]
    assert options["tag"] == "{{.Name}}"
    for label in options["labels"].split(","):
        assert f'attrs."{label}"' in LOGS
    assert '"attrs.tag"' in LOGS


def level_of(line: str) -> str | None:
    """Return the level of a line that is not JSON: the last match of the expressions, as our name of the level."""
    found = [re.search(expression, line) for expression in re.findall(r"expression = `(.+)`", LOGS)]
    given = [match["level"] for match in found if match]
    [names] = re.findall(r"(?s)\$names := dict(.+?)\}\}", LOGS)
    pairs = re.findall(r'"(\w+)" "(\w+)"', names)
    return dict(pairs).get(given[-1], given[-1].lower()) if given else None


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("2026-01-31 12:00:00.000 UTC [14] ERROR:  the ledger's legs differ, level=info", "error"),
        ("2026-01-31 12:00:00.000 UTC [14] FATAL:  sorry, too many clients already", "error"),
        ("2026-01-31 12:00:00.000 UTC [14] PANIC:  could not write to file", "critical"),
        ("2026-01-31 12:00:00.000 UTC [14] WARNING:  there is no transaction in progress", "warning"),
        ("2026-01-31 12:00:00.000 UTC [14] STATEMENT:  SELECT 'ERROR:  1'", "info"),
        ("2026-01-31 12:00:00.000 UTC [14] LOG:  a client sent: ERROR:  x", "info"),
        ("ts=2026-01-31T12:00:00Z level=warn component=tsdb", "warning"),
        ('ts=2026-01-31T12:00:00Z level=error msg="of [1] FATAL:  x"', "error"),
        ("E0131 12:00:00.000000       1 manager.go:1] Failed", "error"),
        ("W0131 12:00:00.000000       1 manager.go:1] Odd", "warning"),
        ("error: GATEWAY_TOKEN is not set", "error"),
        ("CommandError: the worker cannot start", "error"),
        ("Traceback (most recent call last):", "error"),
        ("an error: of another", None),
        ("the first ERROR:  of a person's own", None),
    ],
)
def test_the_level_of_lines_that_others_write_is_known(line, level):
    assert level_of(line) == level


def test_postgresql_really_writes_such_lines():
    """The very server of the tests, asked for a database that is not there."""
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(session_server().url("postgres", "no such database"))
    lines = session_server().log.read_text().splitlines()
    refused = [line for line in lines if 'database "no such database" does not exist' in line]
    assert {level_of(line) for line in refused} == {"error"}
    assert all(level_of(line) for line in lines if not line.startswith("\t"))


def test_an_idle_tempo_is_no_error():
    assert '(eq .service "tempo") (contains "no jobs found" .line)' in LOGS


@pytest.mark.parametrize("traces", [TRACES, DROPPED], ids=["sent", "dropped"])
def test_each_part_of_alloy_that_is_named_is_there(traces):
    text = LOGS + traces
    defined = {f"{kind}.{label}" for kind, label in re.findall(r'(?m)^([\w.]+) "(\w+)" \{', text)}
    used = set(re.findall(r"\b((?:loki|otelcol)\.[\w.]+)\.(?:receiver|input)\b", text))
    assert used <= defined
    # All but the two where something comes in.
    assert defined - used == {"loki.source.file.containers", "otelcol.receiver.otlp.services"}


def test_alloy_sends_to_services_that_are_there():
    addresses = [urlsplit(url) for url in re.findall(r'(?:url|endpoint) += "(http[^"]+)"', LOGS + TRACES)]
    assert {(address.hostname, address.port) for address in addresses} == {("loki", 3100), ("tempo", 4318)}
    assert TEMPO["distributor"]["receivers"]["otlp"]["protocols"]["http"]["endpoint"].endswith(":4318")


@pytest.mark.parametrize("traces", [TRACES, DROPPED], ids=["sent", "dropped"])
def test_services_send_their_traces_to_alloys_port(traces):
    [receiver] = blocks("http", traces)
    listening = re.search(r'endpoint = "0\.0\.0\.0:(\d+)"', receiver)
    assert listening
    for name in ("app", "worker", "gateway"):
        environment: dict[str, Any] = COMPOSE[name]["environment"]
        assert environment["OTEL_EXPORTER_OTLP_ENDPOINT"] == f"http://alloy:{listening[1]}"
