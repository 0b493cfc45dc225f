"""`python -m fintech.compose.kubernetes_secrets FOLDER`: print the Secrets of deploy/kubernetes as YAML.

FOLDER keeps the values, so that a repeated call prints the same ones. Each consumer gets the secrets that it gets in
Compose. For production use a store of secrets instead, such as the External Secrets Operator.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from fintech import env
from fintech.compose.secrets import CONSUMERS, DATABASE_URLS, make_secrets

# CloudNativePG creates the superuser and the roles itself; `configuration` is a step of Compose, Grafana a chart, and
# Stripe no fake.
LEFT_OUT = {"db", "roles", "configuration", "stripe"}
# Services of CloudNativePG that lead to the primary, directly and by PgBouncer, and to the standbys.
PRIMARY, POOLER, STANDBYS = "db-rw", "db-pooler", "db-ro"
SESSION_URL, REPLICA_URL = "database_session_url", "database_replica_url"


def secret(name: str, values: dict[str, str], **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values, **more}


def role(name: str, password: str) -> dict[str, Any]:
    """Return the Secret from which CloudNativePG reads a role's password, and which it watches."""
    found = secret(f"database-{name}", {"username": name, "password": password}, type="kubernetes.io/basic-auth")
    found["metadata"]["labels"] = {"cnpg.io/reload": "true"}
    return found


def secrets(store: Path, *, pooler: bool = False) -> list[dict[str, Any]]:
    """Return all Secrets: one for each consumer, and one for each role of the database.

    In production, consumers of the application's address also get those of sessions and of the standbys.
    """
    values = make_secrets(store)
    for name, (user, password, database) in DATABASE_URLS.items():
        values[name] = f"postgresql://{user}:{values[password]}@{PRIMARY}:5432/{database}?sslmode=require"
    if pooler:
        values[SESSION_URL] = values["database_url"]
        values[REPLICA_URL] = values["database_url"].replace(f"@{PRIMARY}:", f"@{STANDBYS}:")
        values["database_url"] = values["database_url"].replace(f"@{PRIMARY}:", f"@{POOLER}:")
    consumers = []
    for consumer in CONSUMERS:
        names = list(consumer.secrets)
        if pooler and "database_url" in names:
            names += [SESSION_URL, REPLICA_URL]
        if consumer.name not in LEFT_OUT:
            consumers.append(secret(f"{consumer.name}-secrets", {name: values[name] for name in names}))
    return consumers + [role(name, values[f"{name}_password"]) for name in ("owner", "app", "monitor")]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m fintech.compose.kubernetes_secrets", description="Print the Secrets of deploy/kubernetes."
    )
    parser.add_argument("folder", type=Path, help="where the values are kept; only its owner can read it")
    parser.add_argument("--pooler", action="store_true", help="for overlays/production, with PgBouncer and standbys")
    options = parser.parse_args()
    folder = options.folder
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = secrets(folder, pooler=options.pooler)
    except (env.SettingError, OSError) as error:
        sys.exit(f"error: {error}")
    sys.stdout.write("".join(f"---\n{json.dumps(document)}\n" for document in found))  # JSON is YAML


if __name__ == "__main__":
    main()
