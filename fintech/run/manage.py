"""`python -m fintech.run.manage reconcile`: run a Django command with the settings of this folder's `make run`."""

import os
import sys

from fintech.run import RunError, environment
from fintech.run.layout import BASE_DIR, DATABASE, Layout, make_environment
from fintech.run.ports import read_ports
from fintech.run.postgres import EmbeddedPostgres


def main() -> None:
    environment.drop_unknown()
    try:
        layout = Layout(BASE_DIR / "var", read_ports(os.environ.get("BASE_PORT", "")))
        database = {}
        if not {"DATABASE_URL", "DATABASE_URL_FILE"} & os.environ.keys():
            postgres = EmbeddedPostgres(layout.postgres)
            if postgres.pid() is None:
                raise RunError("Nothing runs here: start the platform with `make run` first, in another terminal.")
            database = postgres.urls(DATABASE)
        environ = make_environment(layout, database, os.environ)
    except RunError as error:
        sys.exit(f"error: {error}")
    command = [sys.executable, str(BASE_DIR / "manage.py"), *sys.argv[1:]]
    os.execve(sys.executable, command, environ)  # noqa: S606 (our own interpreter)


if __name__ == "__main__":
    main()
