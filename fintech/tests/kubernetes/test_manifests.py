"""The manifests fit the schemas, the standard `restricted`, and each other."""

import re
from functools import cache

import jsonschema
import kubernetes_validate
import pytest
import yaml
from django.conf import settings

from fintech.tests.kubernetes.manifests import (
    COMPONENTS,
    CUSTOM_PODS,
    FOLDER,
    OVERLAYS,
    WITH_STRIPE,
    WITH_VALKEY,
    all_pod_labels,
    closed,
    container,
    containers,
    labels,
    of_kind,
    one,
    pod,
    pods,
    rendered,
    schema_of,
    selects,
    text,
    title,
)

# The versions of Kubernetes that were supported when this was written.
VERSIONS = ("1.35.0", "1.36.0", "1.37.0")
# Alloy reads the pods' lines by the cluster's API; no other pod of ours calls it.
CALLS_THE_API = {"Deployment/alloy"}
VOLUMES = {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
# Pods of charts and of the cluster, which policies name and no overlay renders.
FOREIGN = {"loki", "tempo", "mimir", "grafana"}

pytestmark = pytest.mark.processes
each_overlay = pytest.mark.parametrize("overlay", OVERLAYS)
each_deployment = pytest.mark.parametrize("overlay", [*OVERLAYS, *COMPONENTS])


def validator(schema):
    return jsonschema.Draft4Validator(closed(schema))


# --- Schemas -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_each_document_fits_the_schema_of_its_kind(version, monkeypatch):
    # It would read its 2 MB of definitions again for each document.
    monkeypatch.setattr(kubernetes_validate.utils, "schema_contents", cache(kubernetes_validate.utils.schema_contents))
    overlays = (*OVERLAYS, *COMPONENTS)
    different = {str(document): document for overlay in overlays for document in rendered(overlay)}
    for document in different.values():
        if schema_of(document) is None:
            kubernetes_validate.validate(document, version, strict=True)


@each_overlay
def test_each_custom_resource_fits_the_schema_of_its_operator(overlay):
    custom = [(document, schema) for document in rendered(overlay) if (schema := schema_of(document)) is not None]
    for document, schema in custom:
        found = [f"{error.json_path}: {error.message}" for error in validator(schema).iter_errors(document)]
        assert not found, title(document)

    assert {"Cluster", "Prometheus", "Alertmanager", "PodMonitor", "Probe", "PrometheusRule"} <= {
        document["kind"] for document, _ in custom
    }


def test_a_misspelt_field_of_a_custom_resource_is_found():
    document = one("small", "Cluster", "db")
    misspelt = {**document, "spec": {**document["spec"], "instancesss": 3}}

    (found,) = validator(schema_of(document)).iter_errors(misspelt)

    assert "instancesss" in found.message


@each_overlay
def test_everything_is_in_one_namespace(overlay):
    namespaces = {document["metadata"].get("namespace") for document in rendered(overlay)}
    assert namespaces == {"fintech", None}
    (namespace,) = [document for document in rendered(overlay) if "namespace" not in document["metadata"]]
    assert labels(namespace)["pod-security.kubernetes.io/enforce"] == "restricted"


# --- Confinement -------------------------------------------------------------------------------------------------


@each_deployment
def test_no_pod_is_root_or_can_become_it(overlay):
    for name, template in pods(overlay):
        user = template["spec"]["securityContext"]
        assert user["runAsNonRoot"] is True, name
        assert user["runAsUser"] >= 400, name
        assert user["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for found in containers(template):
            assert found["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, (name, found["name"])


@each_overlay
def test_the_pods_of_the_operators_are_confined_too(overlay):
    for document in of_kind(overlay, *CUSTOM_PODS):
        spec = document["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert all(found["securityContext"]["readOnlyRootFilesystem"] for found in spec["containers"])
        assert spec["resources"]["limits"]["memory"]


@each_deployment
def test_no_pod_has_the_rights_or_the_folders_of_the_node(overlay):
    for name, template in pods(overlay):
        spec = template["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), name
        assert {key for volume in spec.get("volumes", []) for key in volume if key != "name"} <= VOLUMES, name
        assert name in CALLS_THE_API or spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, name


@each_deployment
def test_each_container_has_limits_and_an_exact_version(overlay):
    for name, template in pods(overlay):
        for found in containers(template):
            resources = found["resources"]
            assert resources["requests"].keys() == {"cpu", "memory"}, (name, found["name"])
            assert resources["limits"].keys() == {"memory"}, (name, found["name"])
            assert re.fullmatch(r"[a-z./-]+:v?\d+\.\d+\.\d+", found["image"]), found["image"]


@each_deployment
def test_each_container_that_runs_on_has_probes(overlay):
    for name, template in pods(overlay):
        if not name.startswith("Job/"):
            for found in template["spec"]["containers"]:
                assert {"livenessProbe", "readinessProbe"} <= found.keys(), name
            for found in template["spec"].get("initContainers", []):
                assert found.get("restartPolicy") != "Always" or "livenessProbe" in found, name


@each_deployment
def test_a_container_can_write_only_to_volumes(overlay):
    for name, template in pods(overlay):
        volumes = {volume["name"]: volume for volume in template["spec"].get("volumes", [])}
        mounted = {mount["name"] for found in containers(template) for mount in found.get("volumeMounts", [])}
        assert mounted == volumes.keys(), name
        for volume in volumes.values():
            assert volume.get("emptyDir", {"sizeLimit": ""}).get("sizeLimit") is not None, (name, volume)


@each_overlay
def test_no_manifest_contains_a_secret_value(overlay):
    secrets = [document["metadata"]["name"] for document in of_kind(overlay, "Secret")]
    assert secrets == ["alertmanager-config"]
    for _, template in pods(overlay):
        for found in containers(template):
            assert not [entry for entry in found.get("env", []) if "secretKeyRef" in entry.get("valueFrom", {})]


# --- Start and stop ----------------------------------------------------------------------------------------------


@each_overlay
def test_a_pod_of_the_web_leaves_the_service_before_it_stops(overlay):
    app = container(overlay, "app")
    draining = app["lifecycle"]["preStop"]["exec"]["command"][-1]
    seconds = int(re.search(r"sleep (\d+)", draining)[1])
    probe = app["readinessProbe"]
    graceful = int(max(settings.GATEWAY_DEADLINE_SECONDS, settings.BATCH_DEADLINE_SECONDS)) + 5

    assert probe["httpGet"]["path"] == "/ready"
    assert seconds > probe["periodSeconds"] * probe["failureThreshold"] + 2
    assert pod(overlay, "app")["spec"]["terminationGracePeriodSeconds"] > seconds + graceful + 5


@each_overlay
@pytest.mark.parametrize("name", ["app", "worker"])
def test_web_and_worker_wait_for_the_migrations(overlay, name):
    first = pod(overlay, name)["spec"]["initContainers"][0]

    assert "manage.py migrate --check --database default" in first["command"][-1]
    assert one(overlay, "Job", "migrate")


@each_overlay
def test_the_exporter_reads_the_files_of_the_web_beside_it(overlay):
    app, metrics = container(overlay, "app"), containers(pod(overlay, "app"))[1]
    path = {mount["name"]: mount["mountPath"] for mount in app["volumeMounts"]}["runtime"]

    assert metrics["restartPolicy"] == "Always"
    assert {"name": "runtime", "mountPath": path, "readOnly": True} in metrics["volumeMounts"]
    assert path in app["lifecycle"]["preStop"]["exec"]["command"][-1]


@each_overlay
def test_bodies_are_not_in_the_memory_of_the_metrics(overlay):
    """A process that writes to a mapped file of a full volume is killed."""
    paths = {mount["name"]: mount["mountPath"] for mount in container(overlay, "app")["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod(overlay, "app")["spec"]["volumes"]}

    assert volumes["runtime"]["emptyDir"]["medium"] == "Memory"
    assert paths["bodies"] == f"{paths['runtime']}/bodies"
    assert "medium" not in volumes["bodies"]["emptyDir"]


@each_overlay
@pytest.mark.parametrize("name", ["app", "worker"])
def test_a_drain_of_nodes_takes_one_pod_after_the_other(overlay, name):
    budget = one(overlay, "PodDisruptionBudget", name)["spec"]

    assert budget["maxUnavailable"] == 1
    assert selects(budget["selector"], labels(pod(overlay, name)))


def test_production_scales_by_payments_in_progress_and_by_cpu():
    spec = one("production", "ScaledObject", "app")["spec"]
    prometheus, cpu = spec["triggers"]

    assert "transactions_in_progress" in prometheus["metadata"]["query"]
    assert cpu["type"] == "cpu"
    assert spec["minReplicaCount"] >= 3
    assert "replicas" not in one("production", "Deployment", "app")["spec"]


def test_production_acknowledges_payments_that_two_machines_have():
    spec = one("production", "Cluster", "db")["spec"]

    assert spec["instances"] == 3
    assert spec["postgresql"]["synchronous"]["number"] == 1
    assert spec["postgresql"]["synchronous"]["dataDurability"] == "required"


# --- Names -------------------------------------------------------------------------------------------------------


@each_overlay
def test_each_service_has_pods_and_its_ports_have_names(overlay):
    for service in of_kind(overlay, "Service"):
        selector = {"matchLabels": service["spec"]["selector"]}
        matching = [name for name, given in all_pod_labels(overlay).items() if selects(selector, given)]
        assert matching, title(service)
        for name, template in pods(overlay):
            if name in matching:
                named = {port["name"] for found in containers(template) for port in found.get("ports", [])}
                assert {port["targetPort"] for port in service["spec"]["ports"]} <= named, title(service)


@each_overlay
def test_each_monitor_has_targets_with_its_port(overlay):
    services = {title(service): labels(service) for service in of_kind(overlay, "Service")}
    for monitor in of_kind(overlay, "PodMonitor", "ServiceMonitor"):
        spec = monitor["spec"]
        if set(spec["selector"]["matchLabels"].values()) <= FOREIGN:
            continue
        candidates = all_pod_labels(overlay) if monitor["kind"] == "PodMonitor" else services
        assert any(selects(spec["selector"], given) for given in candidates.values()), title(monitor)


@each_overlay
def test_each_configuration_that_a_pod_mounts_is_there(overlay):
    existing = {document["metadata"]["name"] for document in of_kind(overlay, "ConfigMap")}
    for name, template in pods(overlay):
        for volume in template["spec"].get("volumes", []):
            sources = [volume, *volume.get("projected", {}).get("sources", [])]
            assert {source["configMap"]["name"] for source in sources if "configMap" in source} <= existing, name


# --- Network -----------------------------------------------------------------------------------------------------


def policies(overlay, direction, given):
    """Return the rules of one direction that apply to a pod."""
    return [
        rule
        for policy in of_kind(overlay, "NetworkPolicy")
        if selects(policy["spec"]["podSelector"], given)
        for rule in policy["spec"].get(direction, [])
    ]


def allows(rules, side, other, port):
    for rule in rules:
        peers = rule.get(side)
        ports = {entry["port"] for entry in rule.get("ports", [])}
        reached = peers is None or any(
            "podSelector" in peer and "namespaceSelector" not in peer and selects(peer["podSelector"], other)
            for peer in peers
        )
        if reached and (not ports or port in ports):
            return True
    return False


NEEDED = [
    ("Deployment/app", "Cluster/db", 5432),
    ("Deployment/worker", "Cluster/db", 5432),
    ("Job/migrate", "Cluster/db", 5432),
    ("Deployment/postgres-exporter", "Cluster/db", 5432),
    ("Cluster/db", "Cluster/db", 5432),
    ("Deployment/worker", "Deployment/app", 9464),
    ("Deployment/worker", "Deployment/worker", 9465),
    ("Deployment/worker", "Prometheus/main", 9090),
    ("Deployment/worker", "Alertmanager/main", 9093),
    ("Deployment/app", "Deployment/alloy", 4318),
    ("Deployment/worker", "Deployment/alloy", 4318),
    ("Prometheus/main", "Deployment/app", 9464),
    ("Prometheus/main", "Deployment/worker", 9465),
    ("Prometheus/main", "Deployment/blackbox-exporter", 9115),
    ("Prometheus/main", "Deployment/postgres-exporter", 9187),
    ("Prometheus/main", "Deployment/alloy", 12345),
    ("Prometheus/main", "Alertmanager/main", 9093),
    ("Prometheus/main", "Prometheus/main", 9090),
    ("Alertmanager/main", "Deployment/app", 5000),
    ("Deployment/blackbox-exporter", "Deployment/app", 5000),
]
ONLY = {
    "small": [
        ("Deployment/app", "Deployment/gateway", 5001),
        ("Deployment/worker", "Deployment/gateway", 5001),
        ("Deployment/blackbox-exporter", "Deployment/gateway", 5001),
        ("Deployment/gateway", "Deployment/alloy", 4318),
        ("Deployment/gateway", "Deployment/app", 5000),
    ],
    "production": [
        ("Deployment/app", "Pooler/db-pooler", 5432),
        ("Pooler/db-pooler", "Cluster/db", 5432),
        ("Alertmanager/b", "Alertmanager/main", 9094),
        ("Alertmanager/main", "Alertmanager/b", 9094),
        ("Alertmanager/b", "Deployment/app", 5000),
    ],
}
FORBIDDEN = [
    ("Deployment/blackbox-exporter", "Cluster/db", 5432),
    ("Deployment/alloy", "Cluster/db", 5432),
    ("Alertmanager/main", "Cluster/db", 5432),
    ("Job/migrate", "Deployment/app", 5000),
    ("Deployment/app", "Deployment/worker", 9465),
    ("Prometheus/main", "Cluster/db", 5432),
    ("Prometheus/main", "Deployment/app", 5000),
]


def connects(overlay, source, target, port):
    pods_of = all_pod_labels(overlay)
    leaves = allows(policies(overlay, "egress", pods_of[source]), "to", pods_of[target], port)
    enters = allows(policies(overlay, "ingress", pods_of[target]), "from", pods_of[source], port)
    return leaves and enters


@each_overlay
def test_the_policies_refuse_what_no_pod_needs(overlay):
    assert not [case for case in FORBIDDEN if connects(overlay, *case)]


@each_overlay
def test_the_policies_let_each_pod_reach_what_it_needs(overlay):
    assert not [case for case in NEEDED + ONLY[overlay] if not connects(overlay, *case)]


@pytest.mark.parametrize("name", ["app", "worker"])
def test_the_component_lets_web_and_worker_reach_stripe(name):
    (policy,) = [found for found in of_kind(WITH_STRIPE, "NetworkPolicy") if found["metadata"]["name"] == "to-stripe"]
    (rule,) = policy["spec"]["egress"]

    assert selects(policy["spec"]["podSelector"], all_pod_labels(WITH_STRIPE)[f"Deployment/{name}"])
    assert rule["ports"] == [{"port": 443}]
    assert "10.0.0.0/8" in rule["to"][0]["ipBlock"]["except"]


@pytest.mark.parametrize("other", ["Deployment/worker", "Prometheus/main", "Deployment/blackbox-exporter"])
def test_only_the_web_reaches_valkey(other):
    assert connects(WITH_VALKEY, "Deployment/app", "Deployment/valkey", 6379)
    assert not connects(WITH_VALKEY, other, "Deployment/valkey", 6379)
    assert not connects(WITH_VALKEY, "Deployment/valkey", "Deployment/app", 5000)


@each_overlay
def test_each_pod_is_denied_what_no_policy_allows(overlay):
    deny = one(overlay, "NetworkPolicy", "default-deny")["spec"]

    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, given in all_pod_labels(overlay).items():
        own = [
            policy
            for policy in of_kind(overlay, "NetworkPolicy")
            if policy["spec"]["podSelector"] and selects(policy["spec"]["podSelector"], given)
        ]
        assert own, name


# --- The two overlays --------------------------------------------------------------------------------------------


def test_the_gateway_simulator_is_not_in_production():
    assert container("small", "gateway")["image"].startswith("fintech-loadtests:")
    assert "loadtests" not in text("production")
    assert "control_token" not in text("production")


def test_files_of_kustomize_and_charts_are_yaml():
    files = [path for path in FOLDER.rglob("*.yaml") if path.name != "generated.yaml"]
    assert all(list(yaml.safe_load_all(path.read_text())) for path in files)
