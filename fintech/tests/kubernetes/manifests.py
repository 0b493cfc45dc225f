"""The manifests of deploy/kubernetes, rendered as `kubectl apply -k` would, for the tests beside this file."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from fintech.testing.processes import BASE_DIR

Document = dict[str, Any]

FOLDER = BASE_DIR / "deploy" / "kubernetes"
OVERLAYS = ("small", "production")
# The production overlay with each optional component.
WITH_STRIPE = "production with Stripe"
WITH_VALKEY = "production with Valkey"
COMPONENTS = {WITH_STRIPE: ("production", "stripe"), WITH_VALKEY: ("production", "valkey")}
# `make kubernetes-tools` builds its programs here.
TOOLS = BASE_DIR / "var" / "kubernetes"
# Kinds of operators whose pods have our settings inside of `spec`.
CUSTOM_PODS = {"Prometheus", "Alertmanager"}


def program(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join([str(TOOLS), os.environ.get("PATH", os.defpath)]))


def kubectl_renders(kubectl: str) -> bool:
    """Return True for a kubectl with kustomize 5: Debian 12 has one of 2020."""
    command = [kubectl, "version", "--client", "--output=json"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    version = json.loads(result.stdout or "{}").get("kustomizeVersion", "")
    return version.startswith("v") and int(version[1:].partition(".")[0]) >= 5


@cache
def renderer() -> tuple[str, ...] | None:
    if kustomize := program("kustomize"):
        return kustomize, "build"
    kubectl = program("kubectl")
    return (kubectl, "kustomize") if kubectl and kubectl_renders(kubectl) else None


@cache
def text(overlay: str) -> str:
    command = renderer()
    if command is None:
        pytest.skip("needs kustomize, or kubectl 1.28 or newer (`make kubernetes-tools` builds one)")
    with tempfile.TemporaryDirectory() as place:
        folder = with_component(Path(place), overlay) if overlay in COMPONENTS else FOLDER / "overlays" / overlay
        result = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "deprecated" not in result.stderr
    return result.stdout


def with_component(folder: Path, name: str) -> Path:
    """Write an overlay that includes a component, as its comment says."""
    overlay, component = (
        os.path.relpath(FOLDER / kind / of, folder.resolve())
        for kind, of in zip(("overlays", "components"), COMPONENTS[name], strict=True)
    )
    small = read(FOLDER / "overlays" / "small" / "kustomization.yaml")
    header = {field: small[field] for field in ("apiVersion", "kind", "namespace")}
    content = json.dumps({**header, "resources": [overlay], "components": [component]})
    (folder / "kustomization.yaml").write_text(content)
    return folder


@cache
def rendered(overlay: str) -> list[Document]:
    return list(yaml.load_all(text(overlay), Loader=yaml.CSafeLoader))


def of_kind(overlay: str, *kinds: str) -> list[Document]:
    return [document for document in rendered(overlay) if document["kind"] in kinds]


def one(overlay: str, kind: str, name: str) -> Document:
    (found,) = [document for document in of_kind(overlay, kind) if document["metadata"]["name"] == name]
    return found


def title(document: Document) -> str:
    return f"{document['kind']}/{document['metadata']['name']}"


def pods(overlay: str) -> Iterator[tuple[str, Document]]:
    """Yield the name and the template of each pod of ours."""
    for document in of_kind(overlay, "Deployment", "Job"):
        yield title(document), document["spec"]["template"]


def pod(overlay: str, name: str) -> Document:
    kind = "Job" if name == "migrate" else "Deployment"
    return one(overlay, kind, name)["spec"]["template"]


def containers(template: Document) -> list[Document]:
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]


def container(overlay: str, name: str) -> Document:
    (found,) = [found for found in containers(pod(overlay, name)) if found["name"] == name]
    return found


def labels(document: Document) -> dict[str, str]:
    return document["metadata"].get("labels", {})


def all_pod_labels(overlay: str) -> dict[str, dict[str, str]]:
    """Return the labels of each pod, also of those that operators create."""
    found = {name: labels(template) for name, template in pods(overlay)}
    for document in of_kind(overlay, *CUSTOM_PODS):
        found[title(document)] = document["spec"]["podMetadata"]["labels"]
    for document in of_kind(overlay, "Cluster"):
        found[title(document)] = {"cnpg.io/cluster": document["metadata"]["name"]}
    for document in of_kind(overlay, "Pooler"):
        found[title(document)] = document["spec"]["template"]["metadata"]["labels"]
    return found


def selects(selector: Document, given: dict[str, str]) -> bool:
    """Return True if a label selector matches."""
    wanted = selector.get("matchLabels", {})
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In"
        if given.get(expression["key"]) not in expression["values"]:
            return False
    return all(given.get(key) == value for key, value in wanted.items())


@cache
def crds() -> list[Document]:
    """Return the definitions of the custom resources."""
    return [json.loads(path.read_text()) for path in (FOLDER / "crds").glob("*.json")]


def schema_of(document: Document) -> Document | None:
    """Return the schema of a custom resource; None for a kind of Kubernetes itself."""
    for crd in crds():
        if crd["spec"]["names"]["kind"] == document["kind"]:
            group, _, version = document["apiVersion"].partition("/")
            assert crd["spec"]["group"] == group
            return next(
                found["schema"]["openAPIV3Schema"] for found in crd["spec"]["versions"] if found["name"] == version
            )
    return None


def closed(schema: Any) -> Any:
    """Return a schema that refuses unknown fields, as `kubectl apply` does."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: closed(value) for key, value in schema.items()}
    is_open = schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not is_open:
        found.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        found["anyOf"] = [{"type": "integer"}, {"type": "string"}]
        found.pop("type", None)
    if schema.get("nullable"):
        found = {"anyOf": [{"type": "null"}, found]}
    return found


def read(path: Path) -> Any:
    return yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
