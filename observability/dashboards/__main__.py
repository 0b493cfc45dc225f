"""`python -m observability.dashboards`: write all dashboards, and remove the files of deleted ones."""

import sys
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard

from observability.dashboards.alert_trail import alert_trail
from observability.dashboards.application import application
from observability.dashboards.finance import finance
from observability.dashboards.infrastructure import infrastructure
from observability.dashboards.kit import to_json
from observability.dashboards.logs import logs
from observability.dashboards.payments import payments
from observability.dashboards.slo import slo

FILES = Path(__file__).resolve().parent.parent / "grafana" / "dashboards"


def all_dashboards() -> dict[str, list[Dashboard]]:
    """Return the dashboards by Grafana folder."""
    return {
        "business": [finance(), slo(), payments()],
        "operations": [alert_trail(), application(), infrastructure(), logs()],
    }


def rendered() -> dict[Path, str]:
    """Return the content of each file by its path below `FILES`."""
    return {
        Path(folder, f"{made.build().uid}.json"): to_json(made)
        for folder, dashboards in all_dashboards().items()
        for made in dashboards
    }


def main() -> None:
    files = rendered()
    for path in FILES.glob("*/*.json"):
        if path.relative_to(FILES) not in files:
            path.unlink()
    for path, content in files.items():
        (FILES / path.parent).mkdir(parents=True, exist_ok=True)
        (FILES / path).write_text(content, encoding="utf-8")
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
