"""Compose and Kubernetes run the same platform: settings, secrets, ports, images, rules, scrape jobs and dashboards."""

import re

import pytest
import yaml

from fintech.compose.kubernetes_secrets import LEFT_OUT, REPLICA_URL, SESSION_URL, secrets
from fintech.compose.secrets import CONSUMERS
from fintech.testing.processes import BASE_DIR
from fintech.tests.kubernetes.manifests import (
    FOLDER,
    OVERLAYS,
    WITH_STRIPE,
    WITH_VALKEY,
    container,
    containers,
    labels,
    of_kind,
    one,
    pod,
    pods,
    read,
    rendered,
    schema_of,
)
from observability import kubernetes, render
from observability.dashboards.__main__ import FILES

pytestmark = pytest.mark.processes
each_overlay = pytest.mark.parametrize("overlay", OVERLAYS)

COMPOSE = read(BASE_DIR / "docker-compose.yml")["services"]
# Compose's service of each container of ours.
CONTAINERS = {"app": "app", "worker": "worker", "migrate": "migrate", "gateway": "gateway"}
# A pod registers the address of its own metrics; in Compose each service has one.
ADDRESS_OF_A_POD = {"POD_IP", "WEB_METRICS_URL", "WORKER_METRICS_URL"}
# What differs in Kubernetes: TLS ends at the cluster's proxy, names are public, and the acquirer is real.
DIFFERENT = {
    "small": set[str](),
    "production": {
        "HTTPS",
        "ALLOWED_HOSTS",
        "CSRF_TRUSTED_ORIGINS",
        "GATEWAY_URL",
        "GATEWAY_NAME",
        "GRAFANA_URL",
        "DATABASE_SESSION_URL_FILE",
        "DATABASE_REPLICA_URL_FILE",
    },
}
# A cluster brings its own metrics of nodes and containers.
FOREIGN_JOBS = {"node", "cadvisor"}


def environment(overlay, name):
    return environment_of(overlay, container(overlay, name))


def environment_of(overlay, found):
    """Return the variables of a container, with those of its ConfigMap."""
    values: dict[str, str] = {}
    for source in found.get("envFrom", []):
        values |= one(overlay, "ConfigMap", source["configMapRef"]["name"])["data"]
    return values | {entry["name"]: entry.get("value", "") for entry in found.get("env", [])}


def without_addresses(values):
    return {key: str(value) for key, value in values.items() if key not in ADDRESS_OF_A_POD}


def of_compose(service, *, with_stripe=False):
    """Return the variables of a service, with or without those that SECOND_GATEWAY sets."""
    values = {}
    for key, value in COMPOSE[service]["environment"].items():
        optional = re.fullmatch(r"\$\{SECOND_GATEWAY:\+(.*)\}", str(value))
        if optional is None:
            values[key] = value
        elif with_stripe:
            values[key] = optional[1].replace("$SECOND_GATEWAY", "USD")
    return without_addresses(values)


def services_of(overlay):
    return {name for name in CONTAINERS if name != "gateway" or overlay == "small"}


# --- Settings, secrets, ports, images ----------------------------------------------------------------------------


@each_overlay
def test_each_service_has_the_settings_of_compose(overlay):
    different = set()
    for name in services_of(overlay):
        ours = without_addresses(environment(overlay, name))
        compose = of_compose(name)
        different |= {key for key in ours.keys() | compose.keys() if ours.get(key) != compose.get(key)}

    assert different == DIFFERENT[overlay]


@pytest.mark.parametrize("name", ["app", "worker", "migrate"])
def test_production_names_the_acquirer_the_same_everywhere_and_not_the_simulator(name):
    names = {overlay: environment(overlay, name).get("GATEWAY_NAME", "simulator") for overlay in OVERLAYS}

    assert names == {"small": "simulator", "production": "acquirer"}


def secrets_in(content):
    """Yield the name of each Secret that a manifest refers to."""
    if isinstance(content, list):
        content = dict(enumerate(content))
    if isinstance(content, dict):
        for key, value in content.items():
            if key == "secretName":
                yield value
            elif key in ("secret", "passwordSecret", "accessKeyId", "secretAccessKey") and "name" in value:
                yield value["name"]
            else:
                yield from secrets_in(value)


def test_the_documented_steps_make_each_secret_of_production(tmp_path):
    made = {secret["metadata"]["name"] for secret in secrets(tmp_path, pooler=True)}
    readme = (FOLDER / "README.md").read_text()
    made |= set(re.findall(r"create secret generic ([a-z-]+)", readme))

    assert {name for document in rendered("production") for name in secrets_in(document)} <= made


def test_the_documentation_names_each_file_with_an_example_to_replace():
    files = {path.relative_to(FOLDER) for path in FOLDER.rglob("*.yaml") if ".example" in path.read_text()}
    named = set(re.findall(r"`([^`\n]+)`", (FOLDER / "README.md").read_text()))

    assert {str(path) for path in files} <= named


@pytest.mark.parametrize("name", ["app", "worker"])
def test_the_component_has_the_settings_of_composes_second_gateway(name):
    added = of_compose(name, with_stripe=True).items() - of_compose(name).items()
    before, ours = (environment(overlay, name) for overlay in ("production", WITH_STRIPE))

    assert ours.items() - before.items() == added - {("STRIPE_URL", "http://stripe:5003")}  # Compose has a fake
    assert before.keys() <= ours.keys()


def test_the_component_of_valkey_changes_one_setting_of_the_web():
    before, ours = (environment(overlay, "app") for overlay in ("production", WITH_VALKEY))
    (port,) = one(WITH_VALKEY, "Service", "valkey")["spec"]["ports"]

    assert ours.items() - before.items() == {("THROTTLE_URL", f"redis://valkey:{port['port']}/0")}
    assert environment("production", "worker") == environment(WITH_VALKEY, "worker")


@each_overlay
def test_each_pod_registers_the_address_of_its_own_metrics(overlay):
    addresses = {
        "WEB_METRICS_URL": (environment(overlay, "app"), containers(pod(overlay, "app"))[1]),
        "WORKER_METRICS_URL": (environment(overlay, "worker"), container(overlay, "worker")),
    }
    for name, (values, exporter) in addresses.items():
        (port,) = exporter["ports"]
        assert values[name] == f"http://$(POD_IP):{port['containerPort']}/metrics"


@each_overlay
def test_each_pod_gets_the_secrets_of_compose(overlay, tmp_path):
    pooler = overlay == "production"
    made = {secret["metadata"]["name"]: set(secret["stringData"]) for secret in secrets(tmp_path, pooler=pooler)}
    without = {name: keys - {SESSION_URL, REPLICA_URL} for name, keys in made.items()}

    assert {
        f"{consumer.name}-secrets": set(consumer.secrets) for consumer in CONSUMERS if consumer.name not in LEFT_OUT
    } == {name: keys for name, keys in without.items() if not name.startswith("database-")}
    for name, template in pods(overlay):
        for volume in template["spec"].get("volumes", []):
            if "secret" in volume:
                assert volume["secret"]["secretName"] in made, name
                assert volume["secret"]["defaultMode"] == 0o440
                for found in containers(template):
                    files = {value for key, value in environment_of(overlay, found).items() if key.endswith("_FILE")}
                    assert {path.removeprefix("/run/secrets/") for path in files} <= made[
                        volume["secret"]["secretName"]
                    ]


@each_overlay
def test_the_database_has_the_roles_whose_passwords_are_made(overlay, tmp_path):
    made = {
        secret["metadata"]["name"]: secret["stringData"]["username"]
        for secret in secrets(tmp_path)
        if secret.get("type") == "kubernetes.io/basic-auth"
    }
    spec = one(overlay, "Cluster", "db")["spec"]
    wanted = {role["passwordSecret"]["name"]: role["name"] for role in spec["managed"]["roles"]}
    wanted[spec["bootstrap"]["initdb"]["secret"]["name"]] = spec["bootstrap"]["initdb"]["owner"]

    assert wanted == made


def test_in_production_sessions_and_a_replica_have_their_own_addresses(tmp_path):
    made = {secret["metadata"]["name"]: secret["stringData"] for secret in secrets(tmp_path, pooler=True)}

    assert "@db-pooler:5432/fintech" in made["app-secrets"]["database_url"]
    assert "@db-rw:5432/fintech" in made["app-secrets"]["database_session_url"]
    assert "@db-ro:5432/fintech" in made["app-secrets"]["database_replica_url"]
    assert one("production", "Pooler", "db-pooler")["spec"]["pgbouncer"]["poolMode"] == "transaction"


def test_a_repeated_call_makes_the_same_secrets(tmp_path):
    assert secrets(tmp_path) == secrets(tmp_path)
    assert all("@db-rw:5432/" in str(secret) for secret in secrets(tmp_path) if "database_url" in str(secret))


@each_overlay
def test_the_services_have_the_names_and_ports_by_which_compose_calls_them(overlay):
    ports = {
        f"{service['metadata']['name']}:{port['port']}"
        for service in of_kind(overlay, "Service")
        for port in service["spec"]["ports"]
    }
    called = set()
    for service in services_of(overlay):
        values = environment(overlay, service).values()
        called |= {found for value in values for found in re.findall(r"http://([a-z-]+:\d+)", value)}

    assert {name for name in called if not name.startswith("localhost")} <= ports
    assert {"app:5000", "worker:9465", "prometheus:9090", "alertmanager:9093"} <= ports


@each_overlay
def test_images_of_others_have_the_versions_of_compose(overlay):
    compose = {service["image"] for service in COMPOSE.values()}
    images = {found["image"] for _, template in pods(overlay) for found in containers(template)}
    versions = {
        kind: {document["spec"]["version"] for document in of_kind(overlay, kind)}
        for kind in ("Prometheus", "Alertmanager")
    }

    assert {image for image in images if "fintech-" not in image} <= compose
    assert versions["Prometheus"] == {COMPOSE["prometheus"]["image"].partition(":")[2]}
    assert versions["Alertmanager"] == {COMPOSE["alertmanager"]["image"].partition(":")[2]}
    postgres = COMPOSE["db"]["image"].partition(":")[2].partition("-")[0]
    assert f":{postgres}-" in one(overlay, "Cluster", "db")["spec"]["imageName"]


@each_overlay
def test_our_images_have_the_version_of_the_project(overlay):
    version = re.search(r'(?m)^version = "(.+)"', (BASE_DIR / "pyproject.toml").read_text())[1]
    images = {found["image"] for _, template in pods(overlay) for found in containers(template)}

    assert {image.partition(":")[2] for image in images if "fintech-" in image} == {version}


@each_overlay
@pytest.mark.parametrize("name", ["app", "worker"])
def test_a_pod_has_as_long_to_stop_as_in_compose(overlay, name):
    seconds = int(COMPOSE[name]["stop_grace_period"].removesuffix("s"))

    assert pod(overlay, name)["spec"]["terminationGracePeriodSeconds"] >= seconds


# --- Monitoring --------------------------------------------------------------------------------------------------


def test_the_generated_file_is_up_to_date():
    assert kubernetes.FILE.read_text() == kubernetes.generated(), "run `make kubernetes`"


@each_overlay
def test_prometheus_evaluates_the_rules_of_compose(overlay):
    files = sorted((render.HERE / "prometheus" / "rules").glob("*.yml"))
    groups = [group for path in files for group in read(path)["groups"]]
    selector = one(overlay, "Prometheus", "main")["spec"]["ruleSelector"]["matchLabels"]
    found = [
        group
        for document in of_kind(overlay, "PrometheusRule")
        if selector.items() <= labels(document).items()
        for group in document["spec"]["groups"]
    ]

    assert sorted(found, key=lambda group: group["name"]) == sorted(groups, key=lambda group: group["name"])


@each_overlay
def test_alertmanager_has_the_routes_of_compose(overlay):
    data = one(overlay, "Secret", "alertmanager-config")["stringData"]
    ours, compose = yaml.safe_load(data["alertmanager.yaml"]), read(render.HERE / "alertmanager" / "alertmanager.yml")
    del ours["templates"], compose["templates"]

    assert ours == compose
    for document in of_kind(overlay, "Alertmanager"):
        (mount,) = document["spec"]["volumeMounts"]
        assert mount["mountPath"] == "/run/secrets"


@each_overlay
def test_prometheus_scrapes_as_in_compose(overlay):
    spec = one(overlay, "Prometheus", "main")["spec"]
    compose = read(render.HERE / "prometheus" / "prometheus.yml")["global"]
    flags = COMPOSE["prometheus"]["command"]

    assert spec["scrapeInterval"] == compose["scrape_interval"]
    assert spec["scrapeTimeout"] == compose["scrape_timeout"]
    assert spec["evaluationInterval"] == compose["evaluation_interval"]
    assert f"--storage.tsdb.retention.time={spec['retention']}" in flags
    assert f"--storage.tsdb.retention.size={spec['retentionSize']}" in flags


@each_overlay
def test_each_scrape_job_of_compose_has_a_monitor(overlay):
    jobs = {job["job_name"] for job in read(render.HERE / "prometheus" / "prometheus.yml")["scrape_configs"]}
    found = {probe["spec"]["jobName"] for probe in of_kind(overlay, "Probe")}
    for monitor in of_kind(overlay, "PodMonitor", "ServiceMonitor"):
        spec = monitor["spec"]
        assert spec["scrapeClass"] == "as-in-compose"
        for endpoint in spec.get("podMetricsEndpoints", []) + spec.get("endpoints", []):
            (relabelling,) = endpoint["relabelings"]
            found.add(relabelling["replacement"])

    assert found == jobs - FOREIGN_JOBS


def test_the_jobs_keep_the_metrics_that_compose_keeps():
    configured = read(render.HERE / "prometheus" / "prometheus.yml")["scrape_configs"]
    without_buckets = {job["job_name"] for job in configured if "metric_relabel_configs" in job}
    found = {
        endpoint["relabelings"][0]["replacement"]
        for monitor in of_kind("small", "PodMonitor", "ServiceMonitor")
        for endpoint in monitor["spec"].get("podMetricsEndpoints", []) + monitor["spec"].get("endpoints", [])
        if "metricRelabelings" in endpoint
    }

    assert found == without_buckets


@each_overlay
def test_the_probes_of_compose_are_there(overlay):
    wanted = {
        group["labels"]["service"]: (group["targets"], group["labels"]["tier"])
        for group in read(render.HERE / "prometheus" / "targets" / "probe.yml")
    }
    found = {}
    for probe in of_kind(overlay, "Probe"):
        config = probe["spec"]["targets"]["staticConfig"]
        found[config["labels"]["service"]] = (config["static"], config["labels"]["tier"])
        assert probe["spec"]["prober"]["url"] == "blackbox-exporter:9115"
        assert probe["spec"]["module"] == "http_200"
    if overlay == "production":
        assert found.pop("gateway")[0] == ["https://gateway.example/health"]
        del wanted["gateway"]

    assert found == wanted


@each_overlay
def test_grafana_gets_each_dashboard_and_each_data_source(overlay):
    folders = {
        document["metadata"]["annotations"]["grafana_folder"].lower(): document["data"]
        for document in of_kind(overlay, "ConfigMap")
        if labels(document).get("grafana_dashboard") == "1"
    }
    files = {path.relative_to(FILES): path.read_text() for path in FILES.glob("*/*.json")}

    assert {(folder, name) for folder, data in folders.items() for name in data} == {path.parts for path in files}
    assert all(folders[path.parts[0]][path.parts[1]] == content for path, content in files.items())
    (sources,) = [found for found in of_kind(overlay, "ConfigMap") if "grafana_datasource" in labels(found)]
    assert sources["data"].keys() == {"datasources.yml"}


@each_overlay
def test_alloy_keeps_the_labels_of_documented_queries(overlay):
    logs = (FOLDER / "base" / "monitoring" / "logs.alloy").read_text()

    assert '"fintech_flask"' in logs
    assert "http://loki:3100/loki/api/v1/push" in logs
    projected = pod(overlay, "alloy")["spec"]["volumes"][0]["projected"]["sources"]
    names = {source["configMap"]["name"] for source in projected}
    data = [found["data"] for found in of_kind(overlay, "ConfigMap") if found["metadata"]["name"] in names]
    assert {name for files in data for name in files} == {"logs.alloy", "traces.alloy"}


def test_each_definition_belongs_to_a_custom_resource_in_use():
    used = {document["kind"] for overlay in OVERLAYS for document in rendered(overlay) if schema_of(document)}
    defined = {read(path)["spec"]["names"]["kind"] for path in (FOLDER / "crds").glob("*.json")}

    assert used == defined


def test_the_charts_run_the_versions_and_limits_of_compose():
    values = {path.stem: read(path) for path in (FOLDER / "values").glob("*.yaml")}
    tags = {
        "grafana": values["grafana"]["image"]["tag"],
        "loki": values["loki"]["loki"]["image"]["tag"],
        "tempo": values["tempo"]["tempo"]["tag"],
    }
    limits = read(render.HERE / "loki" / "loki.yml")["limits_config"]

    assert {name: COMPOSE[name]["image"].partition(":")[2] for name in tags} == tags
    assert values["loki"]["loki"]["limits_config"].items() <= limits.items()
    assert all(values[name]["fullnameOverride"] == name for name in values)
