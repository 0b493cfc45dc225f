"""`python -m observability.kubernetes`: write the part of deploy/kubernetes/ for which kustomize has no way.

The rules become PrometheusRules, and the routes become the Secret that prometheus-operator reads. `make kubernetes`
writes the file; a test compares it with the rules and routes.
"""

import sys
from typing import Any

import yaml

from observability.render import HERE, replace_value

FILE = HERE.parent / "deploy" / "kubernetes" / "base" / "monitoring" / "generated.yaml"
HEADER = """\
# yamllint disable-file
# Made by `make kubernetes` from observability/prometheus/rules and observability/alertmanager: change those.
"""
# The operator copies only its main key; it mounts the other files of the Secret here.
TEMPLATE = "/etc/alertmanager/config/telegram.tmpl"


class Block(str):
    """A text that YAML shows line by line."""

    __slots__ = ()


class Dumper(yaml.SafeDumper):
    """Write texts of several lines as blocks."""


Dumper.add_representer(Block, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|"))


def metadata(name: str) -> dict[str, Any]:
    return {"name": name, "labels": {"app.kubernetes.io/part-of": "fintech"}}


def rules() -> list[dict[str, Any]]:
    """Return a PrometheusRule for each file of rules."""
    return [
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": metadata(path.stem.replace("_", "-")),
            "spec": yaml.safe_load(path.read_text(encoding="utf-8")),
        }
        for path in sorted((HERE / "prometheus" / "rules").glob("*.yml"))
    ]


def routes() -> dict[str, Any]:
    """Return the Secret with Alertmanager's configuration. It has no secret value: the token is in a file."""
    folder = HERE / "alertmanager"
    configuration = (folder / "alertmanager.yml").read_text(encoding="utf-8")
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata("alertmanager-config"),
        "stringData": {
            "alertmanager.yaml": Block(replace_value(configuration, "templates", f"[{TEMPLATE}]")),
            "telegram.tmpl": Block((folder / "telegram.tmpl").read_text(encoding="utf-8")),
        },
    }


def generated() -> str:
    """Return the content of the file."""
    documents = [*rules(), routes()]
    return HEADER + yaml.dump_all(documents, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=10_000)


def main() -> None:
    FILE.write_text(generated(), encoding="utf-8")
    sys.stdout.write(f"{FILE.relative_to(HERE.parent)}\n")


if __name__ == "__main__":
    main()
