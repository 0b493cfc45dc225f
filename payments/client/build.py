"""Build the typed Python client of the merchants' API from the OpenAPI document: `make client`.

The package is not committed, so it cannot differ from the API. `payments/client/retries.py` is copied into it.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import django

RETRIES = Path(__file__).with_name("retries.py")
PACKAGE = "payments_client"
CONFIGURATION = {"project_name_override": "payments-client", "package_name_override": PACKAGE}
# Not of merchants, or another name of the same operation.
EXCLUDED = ("/v1/alerts/", "/transaction")


def build(target: Path) -> None:
    """Write the package to `target`, which is replaced."""
    with TemporaryDirectory() as directory:
        document, configuration = Path(directory, "openapi.json"), Path(directory, "configuration.json")
        document.write_text(json.dumps(merchants_document()))
        configuration.write_text(json.dumps(CONFIGURATION))
        subprocess.run(
            [
                *(sys.executable, "-m", "openapi_python_client", "generate", "--meta", "setup", "--overwrite"),
                *("--fail-on-warning", "--path", document, "--config", configuration, "--output-path", target),
            ],
            # The generator formats with the ruff that it finds there.
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            stdout=subprocess.DEVNULL,
            check=True,
        )
    shutil.copy(RETRIES, target / PACKAGE)


def merchants_document() -> dict[str, Any]:
    from payments.api.openapi import document

    result: dict[str, Any] = json.loads(document())
    result["paths"] = {path: it for path, it in result["paths"].items() if not path.startswith(EXCLUDED)}
    return result


if __name__ == "__main__":
    django.setup()
    build(Path(sys.argv[1]))
