"""A real API server accepts the manifests, with its admission by the standard `restricted`.

`make kubernetes-tools` builds it; that takes minutes, so these tests are skipped where it was not done. It has no
controllers and no nodes: nothing starts.
"""

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fintech.testing.processes import free_port, wait_until
from fintech.tests.kubernetes.manifests import (
    FOLDER,
    OVERLAYS,
    TOOLS,
    WITH_STRIPE,
    Document,
    of_kind,
    one,
    pods,
    program,
    rendered,
    title,
)

pytestmark = pytest.mark.processes
each_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


class Cluster:
    """An API server with the definitions of the operators, on loopback."""

    def __init__(self, folder: Path, port: int, token: str) -> None:
        self.folder = folder
        self.access = [f"--server=https://127.0.0.1:{port}", "--insecure-skip-tls-verify", f"--token={token}"]

    def kubectl(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(program("kubectl")), *self.access, f"--cache-dir={self.folder / 'cache'}", *words],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "HOME": str(self.folder), "KUBECONFIG": str(self.folder / "none")},
        )

    def apply(self, manifests: str, *words: str) -> subprocess.CompletedProcess[str]:
        return self.kubectl("apply", "--server-side", *words, "--filename=-", stdin=manifests)

    def stored(self, manifests: str) -> dict[str, Document]:
        """Return each object as it is stored, with the fields that each manager owns.

        The first update of a volume claim gives it another resourceVersion, and changes nothing else.
        """
        result = self.kubectl("get", "--filename=-", "--output=json", "--show-managed-fields", stdin=manifests)
        assert result.returncode == 0, result.stderr
        found = {title(item): item for item in json.loads(result.stdout)["items"]}
        for item in found.values():
            del item["metadata"]["resourceVersion"]
        return found


def in_own_namespace(overlay: str) -> str:
    """Return an overlay for a namespace of its own: without controllers no other one can be removed before it."""
    name = overlay.lower().replace(" ", "-")
    items: list[Document] = []
    for document in rendered(overlay):
        metadata = dict(document["metadata"])
        metadata["namespace" if "namespace" in metadata else "name"] = name
        items.append(document | {"metadata": metadata})
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def stopped_at_the_end(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=output, cwd=log.parent)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    missing = [name for name in ("server", "kube-apiserver", "kubectl") if not (TOOLS / name).exists()]
    if missing:
        pytest.skip("needs kube-apiserver and etcd: `make kubernetes-tools` builds them in ten minutes")
    folder, token = tmp_path_factory.mktemp("cluster"), secrets.token_hex(16)
    etcd, peer, port = free_port(), free_port(), free_port()
    (folder / "tokens.csv").write_text(f'{token},admin,admin,"system:masters"\n')
    key = folder / "service-accounts.key"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    started = [
        stopped_at_the_end(
            [
                str(TOOLS / "server"),  # Go names the program of etcd after the last part of its package
                f"--data-dir={folder / 'etcd'}",
                f"--listen-client-urls=http://127.0.0.1:{etcd}",
                f"--advertise-client-urls=http://127.0.0.1:{etcd}",
                f"--listen-peer-urls=http://127.0.0.1:{peer}",
                "--unsafe-no-fsync",
            ],
            folder / "etcd.log",
        ),
        stopped_at_the_end(
            [
                str(TOOLS / "kube-apiserver"),
                f"--etcd-servers=http://127.0.0.1:{etcd}",
                "--bind-address=127.0.0.1",
                f"--secure-port={port}",
                f"--cert-dir={folder / 'certificates'}",
                f"--service-account-key-file={key}",
                f"--service-account-signing-key-file={key}",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--token-auth-file={folder / 'tokens.csv'}",
                "--authorization-mode=RBAC",
                "--service-cluster-ip-range=10.96.0.0/16",
                # A pod names its account; the controller that creates the account does not run here.
                "--disable-admission-plugins=ServiceAccount",
            ],
            folder / "apiserver.log",
        ),
    ]
    try:
        found = Cluster(folder, port, token)
        wait_until(lambda: found.kubectl("get", "--raw=/readyz").stdout == "ok", 120, "the API server")
        for path in sorted((FOLDER / "crds").glob("*.json")):
            result = found.apply(path.read_text())
            assert result.returncode == 0, result.stderr
        established = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]
        assert found.kubectl(*established).returncode == 0
        namespace = of_kind("small", "Namespace")[0]
        assert found.apply(json.dumps(namespace)).returncode == 0
        yield found
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()


def test_the_api_server_refuses_a_field_that_it_does_not_know(cluster):
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x", "namespace": "fintech"}}

    result = cluster.apply(json.dumps({**service, "spec": {"ports": [{"port": 1}], "portz": []}}), "--dry-run=server")

    assert result.returncode != 0
    assert "portz" in result.stderr


def test_the_namespace_refuses_a_pod_of_root(cluster):
    root = {"name": "root", "image": "fintech-app", "securityContext": {"runAsUser": 0}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "root", "namespace": "fintech"}}

    result = cluster.apply(json.dumps({**pod, "spec": {"containers": [root]}}), "--dry-run=server")

    assert result.returncode != 0
    assert 'violates PodSecurity "restricted:latest"' in result.stderr


@pytest.mark.parametrize("overlay", [*OVERLAYS, WITH_STRIPE])
def test_each_manifest_is_applied_without_a_warning_and_a_second_time_changes_nothing(cluster, overlay):
    manifests = in_own_namespace(overlay)

    first = cluster.apply(manifests)
    assert first.returncode == 0, first.stderr
    assert "Warning" not in first.stderr
    stored = cluster.stored(manifests)
    again = cluster.apply(manifests)

    assert again.returncode == 0, again.stderr
    assert len(stored) == len(rendered(overlay))
    assert cluster.stored(manifests) == stored


BROKEN = {
    "the operator's schema": ("Cluster", "db", {"instances": "three"}, "spec.instances"),
    "a network that is none": (
        "NetworkPolicy",
        "to-gateway",
        {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/99"}}]}]},
        "10.0.0.0/99",
    ),
    "pods that the selector does not select": (
        "Deployment",
        "app",
        {"selector": {"matchLabels": {"app.kubernetes.io/name": "another"}}},
        "selector",
    ),
}


@pytest.mark.parametrize(("kind", "name", "change", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_manifest_is_refused(cluster, kind, name, change, reason):
    document = one("production", kind, name)
    broken = {**document, "spec": document["spec"] | change}

    result = cluster.apply(json.dumps(broken))

    assert result.returncode != 0
    assert reason in result.stderr


@each_overlay
def test_the_namespace_admits_each_pod(cluster, overlay):
    for name, template in pods(overlay):
        metadata = {"name": name.partition("/")[2], "namespace": "fintech", "labels": template["metadata"]["labels"]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}

        result = cluster.apply(json.dumps(pod), "--dry-run=server")

        assert result.returncode == 0, (name, result.stderr)
        assert "Warning" not in result.stderr, (name, result.stderr)
